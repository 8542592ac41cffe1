"""Pods that the tests of the API server send, and what they look at."""

import pytest
from kubernetes.client import ApiException

NAMESPACE = "default"


def pod(name="job", code="print('done')", *, labels=None, env=(), **spec):
    """A pod of one container ``base`` that runs Python code."""
    container = {
        "name": "base",
        "image": "trainer:1",
        "command": ["python", "-c"],
        "args": [code],
        "env": [{"name": key, "value": value} for key, value in env],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    container |= {key: spec.pop(key) for key in ("envFrom", "command", "args", "resources") if key in spec}
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"containers": [container], "restartPolicy": "Never", **spec},
    }


# Says so, then lives until it is told otherwise; `deaf` does not listen to SIGTERM.
LONG = "import time; print('up'); time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)"


def condition(found, kind):
    return next(one.status for one in found.status.conditions if one.type == kind)


def log(core, **kwargs):
    return core.read_namespaced_pod_log("job", NAMESPACE, _preload_content=False, **kwargs).data.decode()


def waiting(api):
    statuses = api.pod("job")["status"].get("containerStatuses", [{"state": {}}])
    return statuses[0]["state"].get("waiting", {})


def log_refusal(core, **kwargs):
    with pytest.raises(ApiException) as caught:
        core.read_namespaced_pod_log("job", NAMESPACE, **kwargs)
    return caught.value.status
