"""A cluster that does not answer, refuses, has no room, or lost the log."""

import json
import logging
import types

import clipfarm_pod_answer
import clipfarm_pod_lifecycle
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException

from tests.kubernetes import behaviours
from tests.plugins.pods.training_task import JOB, Try, assert_no_pod, assert_succeeded

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("deployment")]


# K5: logs are a comfort, not the verdict.


@pytest.mark.parametrize("behaviour", [behaviours.log_error, behaviours.log_gone])
def test_a_log_that_cannot_be_read_fails_nothing(run, api, behaviour):
    api.behave(behaviour)
    attempt = Try.of(run, *JOB)
    attempt.execute()
    assert_succeeded(attempt, run, api)


@pytest.mark.parametrize("code", [503, 401])
def test_a_cluster_that_does_not_answer_for_a_while_costs_no_pod(run, api, code, monkeypatch):
    """A control plane that is upgraded; a token that is renewed."""
    monkeypatch.setattr(clipfarm_pod_lifecycle, "_TRIES", 2)
    api.behave(behaviours.log_error)
    attempt = Try.of(run, *JOB)
    faults = []

    def fail_once_started(pod_run):
        await_start = pod_run.await_pod_start

        def started(pod):
            await_start(pod)
            faults.append(api.fail("GET", f"/pods/{attempt.pod}", code, times=20))

        pod_run.await_pod_start = started

    attempt.alter(fail_once_started)
    attempt.execute()
    assert faults[0].struck == 20
    assert_succeeded(attempt, run, api)


# K7: pods that do not start.


def test_a_secret_that_is_missing_is_named(run, api, monkeypatch):
    monkeypatch.setenv("CLIPFARM_POD_STARTUP_TIMEOUT_S", "1")
    api.secrets.clear()
    with pytest.raises(AirflowException, match='CreateContainerConfigError: secret "clipfarm-s3" not found'):
        Try.of(run, *JOB).execute()
    assert_no_pod(api)


def test_a_pod_past_its_deadline_says_so(run, api, monkeypatch):
    monkeypatch.setenv("CLIPFARM_POD_ACTIVE_DEADLINE_S", "1")
    api.behave(behaviours.never_created)  # a job that runs may end sooner
    with pytest.raises(AirflowException, match="DeadlineExceeded"):
        Try.of(run, *JOB).execute()
    assert_no_pod(api)


def test_a_pod_nobody_has_room_for_is_given_up_and_never_runs_later(run, api, monkeypatch):
    monkeypatch.setenv("CLIPFARM_POD_SCHEDULE_TIMEOUT_S", "1")
    api.behave(behaviours.pending_forever)
    said = "Insufficient nvidia.com/gpu.*too long to be scheduled"
    with pytest.raises(AirflowException, match=said) as failed:
        Try.of(run, *JOB).execute()
    assert not isinstance(failed.value, AirflowFailException)
    assert_no_pod(api)


def test_an_image_that_cannot_be_pulled_fails_fast(run, api):
    api.behave(behaviours.image_pull_back_off)
    with pytest.raises(AirflowException, match="Image cannot be pulled") as failed:
        Try.of(run, *JOB).execute()
    assert "\n" not in str(failed.value)
    assert_no_pod(api)


def test_a_registry_that_comes_back_costs_no_try(run, api):
    api.behave(behaviours.registry_down)
    attempt = Try.of(run, *JOB)
    attempt.execute()
    assert_succeeded(attempt, run, api)


# K8: a server that is busy, and a cluster that refuses.


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_api_server_is_asked_again(run, api, code):
    faults = [api.fail(method, "/pods", code, times=2) for method in ("POST", "GET", "DELETE")]
    attempt = Try.of(run, *JOB)
    attempt.execute()
    assert_succeeded(attempt, run, api)
    assert [fault.struck for fault in faults] == [2, 2, 2]


def test_a_cut_connection_is_asked_again(run, api):
    api.cut("POST", "/pods", after=True)
    api.cut("GET", "/pods/clipfarm-ridge", times=2)
    attempt = Try.of(run, *JOB)
    attempt.execute()
    assert_succeeded(attempt, run, api)


NO_RIGHT = {"message": 'pods is forbidden: User "airflow" cannot create resource "pods" in API group ""'}


def test_a_missing_right_is_final_once_it_is_believed(run, api, monkeypatch):
    monkeypatch.setattr(clipfarm_pod_answer, "_BELIEVED_AFTER_S", 0.5)
    fault = api.fail("POST", "/pods", 403, times=10_000, body=NO_RIGHT)
    with pytest.raises(AirflowFailException, match="got 403 .*cannot create resource") as failed:
        Try.of(run, *JOB).execute()
    assert fault.struck > 1
    assert "\n" not in str(failed.value)
    assert "{" not in str(failed.value)


def test_a_standard_that_the_pod_breaks_is_final_at_once(run, api):
    body = {"message": 'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot'}
    fault = api.fail("POST", "/pods", 403, times=10, body=body)
    with pytest.raises(AirflowFailException, match="violates PodSecurity"):
        Try.of(run, *JOB).execute()
    assert fault.struck == 1


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_server_that_starts_and_refuses_everything_costs_no_try(run, api, method):
    """As it does for a second, before it has read its own rules."""
    fault = api.fail(method, "/pods", 403, times=8, body=NO_RIGHT)
    attempt = Try.of(run, *JOB)
    attempt.execute()
    assert fault.struck == 8
    assert_succeeded(attempt, run, api)


def test_a_server_that_restarts_while_the_pod_runs_costs_no_try(run, api):
    attempt = Try.of(run, *JOB)
    faults = []

    def restart_once_started(pod_run):
        await_start = pod_run.await_pod_start

        def started(pod):
            await_start(pod)
            faults.append(api.fail("GET", "/pods", 403, times=8, body=NO_RIGHT))

        pod_run.await_pod_start = started

    attempt.alter(restart_once_started)
    attempt.execute()
    assert faults[0].struck == 8
    assert_succeeded(attempt, run, api)


QUOTA = {"message": "pods is forbidden: exceeded quota: clipfarm, requested: nvidia.com/gpu=1"}


def test_a_full_quota_is_waited_for_and_told_once(run, api, caplog):
    caplog.set_level(logging.INFO)
    fault = api.fail("POST", "/pods", 403, times=5, body=QUOTA)
    attempt = Try.of(run, *JOB)
    attempt.execute()
    assert fault.struck == 5
    assert_succeeded(attempt, run, api)
    [told] = [record.getMessage() for record in caplog.records if "quota" in record.getMessage()]
    assert told.endswith("exceeded quota: clipfarm, requested: nvidia.com/gpu=1")


def test_a_full_quota_is_asked_every_ten_seconds(monkeypatch):
    """For as long as a pod may wait for a node, and not once after that."""
    monkeypatch.undo()
    waited, asked = [], []
    monkeypatch.setattr(clipfarm_pod_lifecycle.time, "sleep", waited.append)
    monkeypatch.setattr(clipfarm_pod_lifecycle.time, "monotonic", lambda: sum(waited))

    def create(namespace, body):
        asked.append(None)
        error = ApiException(status=403)
        error.body = json.dumps(QUOTA)
        raise error

    pod = k8s.V1Pod(metadata=k8s.V1ObjectMeta(name="a-pod", namespace="clipfarm"))
    client = types.SimpleNamespace(create_namespaced_pod=create)
    with pytest.raises(AirflowException, match="exceeded quota"):
        clipfarm_pod_lifecycle.create_or_adopt(client, pod, quota_patience_s=65)
    assert waited == [10, 10, 10, 10, 10, 10, 5]
    assert len(asked) == 8


def test_a_quota_that_stays_full_is_given_up_and_tried_again_later(run, api, monkeypatch):
    monkeypatch.setenv("CLIPFARM_POD_SCHEDULE_TIMEOUT_S", "1")
    api.fail("POST", "/pods", 403, times=1000, body=QUOTA)
    with pytest.raises(AirflowException, match="exceeded quota") as failed:
        Try.of(run, *JOB).execute()
    assert not isinstance(failed.value, AirflowFailException)


def test_a_conflict_that_is_no_pod_is_tried_again(run, api):
    fault = api.fail("POST", "/pods", 409, times=2, body={"reason": "Conflict"})
    attempt = Try.of(run, *JOB)
    attempt.execute()
    assert fault.struck == 2
    assert_succeeded(attempt, run, api)
