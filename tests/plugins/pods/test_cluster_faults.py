"""A cluster that does not answer, refuses, has no room, or lost the log."""

import clipfarm_pod_lifecycle
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from tests.kubernetes import behaviours
from tests.plugins.pods.training_task import JOB, Try, assert_succeeded

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
    has_started = attempt.operator.await_pod_start
    faults = []

    def started(pod):
        has_started(pod)
        faults.append(api.fail("GET", f"/pods/{attempt.pod}", code, times=20))

    attempt.operator.await_pod_start = started
    attempt.execute()
    assert faults[0].struck == 20
    assert_succeeded(attempt, run, api)


# K7: pods that do not start.


def test_a_secret_that_is_missing_is_named(run, api, monkeypatch):
    monkeypatch.setenv("CLIPFARM_POD_STARTUP_TIMEOUT_S", "1")
    api.secrets.clear()
    with pytest.raises(AirflowException, match='CreateContainerConfigError: secret "clipfarm-s3" not found'):
        Try.of(run, *JOB).execute()
    assert api.pods() == []


def test_a_pod_past_its_deadline_says_so(run, api, monkeypatch):
    monkeypatch.setenv("CLIPFARM_POD_ACTIVE_DEADLINE_S", "1")
    with pytest.raises(AirflowException, match="DeadlineExceeded"):
        Try.of(run, *JOB).execute()
    assert api.pods() == []


def test_a_pod_nobody_has_room_for_is_given_up_and_never_runs_later(run, api, monkeypatch):
    monkeypatch.setenv("CLIPFARM_POD_SCHEDULE_TIMEOUT_S", "1")
    api.behave(behaviours.pending_forever)
    said = "Insufficient nvidia.com/gpu.*too long to be scheduled"
    with pytest.raises(AirflowException, match=said) as failed:
        Try.of(run, *JOB).execute()
    assert not isinstance(failed.value, AirflowFailException)
    assert api.pods() == []


def test_an_image_that_cannot_be_pulled_fails_fast(run, api):
    api.behave(behaviours.image_pull_back_off)
    with pytest.raises(AirflowException, match="Image cannot be pulled"):
        Try.of(run, *JOB).execute()
    assert api.pods() == []


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


def test_a_missing_right_is_final(run, api):
    api.fail("POST", "/pods", 403, times=10, body={"message": "pods is forbidden: User cannot create resource"})
    with pytest.raises(AirflowFailException, match="got 403 .*cannot create resource"):
        Try.of(run, *JOB).execute()


QUOTA = {"message": "pods is forbidden: exceeded quota: clipfarm, requested: nvidia.com/gpu=1"}


def test_a_full_quota_is_waited_for(run, api):
    fault = api.fail("POST", "/pods", 403, times=5, body=QUOTA)
    attempt = Try.of(run, *JOB)
    attempt.execute()
    assert fault.struck == 5
    assert_succeeded(attempt, run, api)


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
