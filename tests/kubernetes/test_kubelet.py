"""What becomes of a pod: the command that really runs, its end, its deletion from either side."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from kubernetes.client import ApiException

from tests.eventually import eventually
from tests.kubernetes.api_server import KubernetesApi
from tests.kubernetes.behaviours import (
    pending_forever,
    succeed_without_running,
)
from tests.kubernetes.pods import DEAF, LONG, NAMESPACE, condition, log, log_refusal, pod, waiting


def test_a_command_runs_and_succeeds(api, core, create, state):
    create(code="print('one'); import sys; print('two', file=sys.stderr)")
    api.wait_for("job", "Succeeded")
    ended = state().terminated
    assert (ended.exit_code, ended.reason, ended.message) == (0, "Completed", None)
    assert ended.started_at <= ended.finished_at <= datetime.now(UTC)
    found = core.read_namespaced_pod("job", NAMESPACE)
    assert found.status.pod_ip
    assert condition(found, "PodScheduled") == "True"
    assert condition(found, "Ready") == "False"
    assert log(core) == "one\ntwo\n"


def test_a_running_pod_is_ready(api, core, create, state):
    create(code=LONG)
    api.wait_for("job", "Running")
    assert state().running.started_at
    assert condition(core.read_namespaced_pod("job", NAMESPACE), "Ready") == "True"


def test_a_failure_has_its_code_and_last_words(api, create, state):
    create(code="print('epoch 1'); print('no such bucket'); raise SystemExit(2)")
    api.wait_for("job", "Failed")
    ended = state().terminated
    assert (ended.exit_code, ended.reason, ended.message) == (2, "Error", "epoch 1\nno such bucket")


def test_a_program_that_does_not_exist(api, create, state):
    create(command=["no-such-program"])
    api.wait_for("job", "Failed")
    assert (state().terminated.exit_code, state().terminated.reason) == (128, "StartError")


def test_the_environment_is_the_pods_and_the_images_only(api, create, monkeypatch, repository):
    monkeypatch.setenv("CLIPFARM_FROM_THE_TEST", "must not be seen")
    api.secrets["s3"] = {"AWS_SECRET_ACCESS_KEY": "hidden", "SHARED": "secret"}
    create(
        code="import os, sys, json; print(json.dumps(dict(os.environ))); print(sys.executable); print(os.getcwd())",
        env=[("CLIPFARM_BUCKET", "b"), ("SHARED", "plain")],
        envFrom=[{"secretRef": {"name": "s3"}}, {"secretRef": {"name": "none", "optional": True}}],
    )
    api.wait_for("job", "Succeeded")
    printed, executable, folder = api.log("job").splitlines()
    variables = json.loads(printed)
    assert variables | {"CLIPFARM_BUCKET": "b", "SHARED": "plain", "AWS_SECRET_ACCESS_KEY": "hidden"} == variables
    assert "CLIPFARM_FROM_THE_TEST" not in variables
    assert variables["PYTHONPATH"] == str(repository)
    assert variables["HOME"] == variables["TMPDIR"] == folder
    assert Path(executable).parent == Path(sys.executable).parent
    assert "hidden" not in str(api.pods()) + str(api.created)


def test_the_package_runs_in_a_pod(api, create):
    create(command=["python", "-m", "clipfarm_tasks"], args=["step", "--help"])
    api.wait_for("job", "Succeeded", log="train")


def test_variables_come_from_fields_and_secret_keys(api, core):
    api.secrets["s3"] = {"key": "hidden"}
    body = pod(code="import os; print(os.environ['NAME'], os.environ['RUN'], os.environ['KEY'])", labels={"run": "r1"})
    body["spec"]["containers"][0]["env"] = [
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "RUN", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['run']"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "key"}}},
    ]
    core.create_namespaced_pod(NAMESPACE, body)
    api.wait_for("job", "Succeeded")
    assert api.log("job") == "job r1 hidden\n"


def test_a_missing_secret_keeps_the_container_waiting(api, core, create):
    create(envFrom=[{"secretRef": {"name": "s3"}}])
    eventually(lambda: waiting(api).get("reason") == "CreateContainerConfigError")
    assert waiting(api)["message"] == 'secret "s3" not found'
    assert log_refusal(core) == 400
    core.delete_namespaced_pod("job", NAMESPACE)
    api.wait_for("job", None)


@pytest.mark.parametrize(("code", "exit_code"), [(LONG, 143), (DEAF, 137)])
@pytest.mark.parametrize("outside", [True, False])
def test_a_deleted_pod_gets_its_grace_and_is_gone(core, api, create, code, exit_code, outside):
    create(code=code)
    api.wait_for("job", "Running", log="up")
    if outside:
        before = len(api.requests)
        api.delete_pod("job")
        assert len(api.requests) == before
    else:
        condemned = core.delete_namespaced_pod("job", NAMESPACE, grace_period_seconds=1)
        assert condemned.metadata.deletion_timestamp > condemned.metadata.creation_timestamp
    if code == DEAF:
        with pytest.raises(ApiException, match="already exists"):
            create()
    api.wait_for("job", None)
    last = [change.found for change in api._state.changes if change.type == "DELETED" and change.kind == "pods"][-1]
    assert last["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == exit_code
    assert not api.running()


def test_a_forced_deletion_is_at_once(api, core, create):
    create(code=DEAF)
    api.wait_for("job", "Running", log="up")
    core.delete_namespaced_pod("job", NAMESPACE, grace_period_seconds=0)
    assert api.pods() == []
    eventually(lambda: not api.running())


@pytest.mark.parametrize("behaviour", [pending_forever, succeed_without_running])
def test_what_does_not_run_needs_no_grace(api, core, create, behaviour):
    api.behave(behaviour)
    create()
    api.wait_for("job", "Pending" if behaviour is pending_forever else "Succeeded")
    assert core.delete_namespaced_pod("job", NAMESPACE).metadata.deletion_timestamp is None
    assert api.pods() == []


def test_a_pod_is_stopped_at_its_deadline(api, core, create, state):
    create(code=LONG, activeDeadlineSeconds=1)
    api.wait_for("job", "Failed", log="up")
    assert core.read_namespaced_pod("job", NAMESPACE).status.reason == "DeadlineExceeded"
    assert state().terminated.exit_code == 137


def test_children_of_the_command_end_with_it(api, create):
    create(
        code="import subprocess as s, sys; print(s.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)"
    )
    api.wait_for("job", "Succeeded")
    child = int(api.log("job"))
    eventually(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def test_nothing_runs_on_after_the_server(core_of):
    pids = []

    def a_test_that_fails():
        with KubernetesApi() as api:
            core_of(api).create_namespaced_pod(NAMESPACE, pod(code=DEAF))
            api.wait_for("job", "Running", log="up")
            pids.extend(api.running())
            raise AssertionError("by the test")

    with pytest.raises(AssertionError, match="by the test"):
        a_test_that_fails()
    [pid] = pids
    assert not psutil.pid_exists(pid)
