"""Neither a pod's success nor the worker's end proves anything: only the snapshot does."""

import os
import signal
import time

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout

from clipfarm_tasks.contracts import SnapshotRecord
from tests.kubernetes import behaviours
from tests.plugins.pods.training_task import (
    JOB,
    Try,
    assert_no_pod,
    assert_succeeded,
    is_published,
    meanwhile,
    once_watched,
)

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("deployment")]


def terminate():
    """As Airflow ends a worker, and as it ends a task for a person."""
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_pod_that_succeeds_without_a_snapshot_is_a_failure(run, api):
    api.behave(behaviours.succeed_without_running)
    attempt = Try.of(run, *JOB)
    with pytest.raises(AirflowException, match=r"expected s3://.*/_SUCCESS, got none: pod .* exit code 0") as failed:
        attempt.execute()
    assert not isinstance(failed.value, AirflowFailException)
    assert attempt.returned is None
    assert_no_pod(api)


def test_sigterm_of_the_worker_is_no_success_and_the_next_try_picks_the_pod_up(run, api):
    first = Try.of(run, *JOB)
    once_watched(api, first.pod, terminate)
    with pytest.raises(AirflowException, match=": SIGTERM"):
        first.execute()
    assert first.returned is None
    [pod] = api.pods()
    second = Try.of(run, *JOB, number=2)
    second.execute()
    assert_succeeded(second, run, api, pods=1)
    assert pod["metadata"]["name"] == second.pod


def test_a_second_sigterm_does_not_overrule_the_first(run, api):
    attempt = Try.of(run, *JOB)
    answer = attempt.ti.get_task_states

    def states(**arguments):  # the worker is asked again while it decides
        os.kill(os.getpid(), signal.SIGTERM)
        return answer(**arguments)

    attempt.ti.get_task_states = states
    once_watched(api, attempt.pod, terminate)
    with pytest.raises(AirflowException, match=": SIGTERM"):
        attempt.execute()
    [pod] = api.pods()
    assert "deletionTimestamp" not in pod["metadata"]


def test_a_task_that_ran_into_its_time_limit_takes_its_pod_along(run, api):
    attempt = Try.of(run, *JOB)
    api.behave(behaviours.pending_forever)

    def expire(*_):
        raise AirflowTaskTimeout("time is up")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, 0.6)
    try:
        with pytest.raises(AirflowTaskTimeout):
            attempt.execute()
        assert len(api.pods()) <= 1
        attempt.operator.on_kill()  # as the task runner does then
    finally:
        signal.signal(signal.SIGALRM, before)
    api.wait_for(attempt.pod, None)


@pytest.mark.parametrize("state", ["running", "up_for_retry", "scheduled", "queued"])
def test_a_try_that_airflow_gave_up_for_lost_leaves_its_pod_to_the_next(run, api, state):
    attempt = Try.of(run, *JOB)
    attempt.ti.state = state
    once_watched(api, attempt.pod, terminate)
    with pytest.raises(AirflowException, match=": SIGTERM"):
        attempt.execute()
    [pod] = api.pods()
    assert "deletionTimestamp" not in pod["metadata"]


def test_sigterm_while_the_pod_waits_for_a_node_ends_the_wait(run, api):
    attempt = Try.of(run, *JOB)
    api.behave(behaviours.pending_forever)
    api.hang("GET", "/events", 5, times=5)
    once_watched(api, attempt.pod, terminate)
    with pytest.raises(AirflowException, match="SIGTERM"):
        attempt.execute()


def test_sigterm_before_there_is_a_pod_starts_none(run, api):
    attempt = Try.of(run, *JOB)
    pull = attempt.ti.xcom_pull

    def pulled(**arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return pull(**arguments)

    attempt.ti.xcom_pull = pulled
    with pytest.raises(BaseException, match="SIGTERM"):
        attempt.execute()
    assert api.created == []


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "removed", "restarting", None])
def test_a_task_that_a_person_ended_takes_its_pod_along(run, api, state):
    attempt = Try.of(run, *JOB)
    attempt.ti.state = state
    once_watched(api, attempt.pod, terminate)
    with pytest.raises(AirflowException):
        attempt.execute()
    api.wait_for(attempt.pod, None)
    assert not is_published(run)


def test_sigterm_after_the_snapshot_is_published_is_a_success(run, api):
    attempt = Try.of(run, *JOB)
    attempt.alter(lambda pod: vars(pod).update(poll_interval=30))  # the pod ends while the operator sleeps
    api.behave(behaviours.log_error)

    def stop():
        while not is_published(run):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    meanwhile(stop)
    assert SnapshotRecord.model_validate(attempt.execute()).digest == run.record.digest
