"""Each way a pod can go wrong looks as it does on a real cluster."""

import time

import pytest

from tests.eventually import eventually
from tests.kubernetes.api_server import KubernetesApi
from tests.kubernetes.behaviours import (
    evicted,
    image_pull_back_off,
    node_lost,
    oom_killed,
    pending_forever,
    succeed_without_running,
)
from tests.kubernetes.pods import LONG, NAMESPACE, condition, log_refusal, pod, waiting


def test_pending_forever(api, core, create):
    api.behave(pending_forever)
    create()
    eventually(lambda: core.list_namespaced_event(NAMESPACE).items)
    found = core.read_namespaced_pod("job", NAMESPACE)
    assert (found.status.phase, found.status.container_statuses) == ("Pending", None)
    assert condition(found, "PodScheduled") == "False"
    core.delete_namespaced_pod("job", NAMESPACE)
    assert api.pods() == []


def test_image_pull_back_off(api, create):
    api.behave(image_pull_back_off)
    create()
    eventually(lambda: waiting(api).get("reason") == "ImagePullBackOff")
    assert "trainer:1" in waiting(api)["message"]
    assert not api.running()


@pytest.mark.parametrize("lines", [0, 1])
def test_oom_killed(api, create, state, lines):
    api.behave(oom_killed(lines))
    create(code=LONG)
    api.wait_for("job", "Failed", log="up" if lines else "")
    assert (state().terminated.exit_code, state().terminated.reason) == (137, "OOMKilled")
    assert not api.running()


def test_what_ended_before_cannot_be_killed(api, create, state):
    api.behave(oom_killed(after_lines=2))
    create()
    api.wait_for("job", "Succeeded")
    assert state().terminated.reason == "Completed"


@pytest.mark.parametrize("lines", [None, 1])
def test_evicted(api, core, create, lines):
    api.behave(evicted(lines))
    create(code=LONG)
    api.wait_for("job", "Failed", log="" if lines is None else "up")
    status = core.read_namespaced_pod("job", NAMESPACE).status
    known = [one.state.terminated.exit_code for one in status.container_statuses or []]
    assert (status.reason, known) == ("Evicted", [] if lines is None else [137])
    assert not api.running()
    if lines is None:
        assert log_refusal(core) == 400


def test_a_lost_node_keeps_its_pod_until_it_is_forced(api, core, create):
    api.behave(node_lost(noticed_after_s=0.05))
    create(code=LONG)
    eventually(lambda: (api.pod("job") or {})["metadata"].get("deletionTimestamp"))
    assert not api.running()
    assert api.log("job") == "up\n"
    assert log_refusal(core) == 500
    core.delete_namespaced_pod("job", NAMESPACE, grace_period_seconds=1)
    time.sleep(0.3)
    found = core.read_namespaced_pod("job", NAMESPACE)
    assert found.status.phase == "Running"
    assert found.metadata.deletion_grace_period_seconds == 1
    core.delete_namespaced_pod("job", NAMESPACE, grace_period_seconds=0)
    assert api.pods() == []


def test_a_false_success_ran_nothing(api, create, state, tmp_path):
    api.behave(succeed_without_running)
    create(code=f"open({str(tmp_path / 'ran')!r}, 'w')")
    api.wait_for("job", "Succeeded")
    assert state().terminated.exit_code == 0
    assert not (tmp_path / "ran").exists()


def test_behaviours_wait_for_the_pod_they_are_meant_for(api, create, state):
    api.behave(oom_killed(0), when=lambda found: found["metadata"]["labels"].get("family") == "gpu")
    create("cpu", labels={"family": "cpu"})
    create("gpu", LONG, labels={"family": "gpu"})
    create("next", labels={"family": "gpu"})
    for name, phase in (("cpu", "Succeeded"), ("gpu", "Failed"), ("next", "Succeeded")):
        api.wait_for(name, phase)


def test_a_behaviour_that_breaks_fails_the_test(core_of):
    async def broken(_worker):
        raise ZeroDivisionError

    def a_test():
        with KubernetesApi() as api:
            api.behave(broken)
            core_of(api).create_namespaced_pod(NAMESPACE, pod())

    with pytest.raises(ExceptionGroup, match="live its life"):
        a_test()
