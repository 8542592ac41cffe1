"""The operator in deferrable mode: the triggerer waits, and the bucket still has the last word."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from airflow.sdk.module_loading import import_string

from clipfarm_tasks import keys
from tests.kubernetes import behaviours
from tests.plugins.pods.training_task import (
    CONNECTION,
    JOB,
    Try,
    assert_no_pod,
    assert_succeeded,
    is_published,
    once_watched,
)

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("deployment")]


@pytest.fixture(autouse=True)
def deferrable(monkeypatch):
    monkeypatch.setenv("CLIPFARM_POD_DEFERRABLE", "true")


def deferred(attempt):
    """The trigger the task hands to the triggerer."""
    attempt.ti.start_date = datetime.now(tz=UTC)
    with pytest.raises(TaskDeferred) as deferral:
        attempt.execute()
    assert deferral.value.method_name == "trigger_reentry"
    assert attempt.returned is None
    return deferral.value.trigger


def event_of(trigger):
    """What the triggerer hears from it, after it was written down and read back as Airflow does."""
    path, arguments = trigger.serialize()
    assert import_string(path) is type(trigger)
    copy = import_string(path)(**arguments)
    copy.startup_check_interval = 0.05

    async def events():
        return [event.payload async for event in copy.run()]

    [event] = asyncio.run(events())
    return event


def resumed(run, event):
    """The task in a process of its own, as it goes on after the event."""
    attempt = Try.of(run, *JOB)
    return attempt, lambda: attempt.resume(event)


def test_trains_while_nothing_holds_a_worker(run, api):
    event = event_of(deferred(Try.of(run, *JOB)))
    assert event["status"] == "success"
    attempt, resume = resumed(run, event)
    assert resume() == attempt.returned
    assert_succeeded(attempt, run, api)


def test_no_credentials_in_the_trigger(run, api, deployment):
    trigger = deferred(Try.of(run, *JOB))
    for secret in deployment.values():
        assert secret not in str(trigger.serialize())
    assert api.token not in str(trigger.serialize())


def test_a_kubeconfig_of_the_environment_is_not_written_down(run, api, monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path / "kubeconfig")))
    trigger = deferred(Try.of(run, *JOB))
    assert api.token not in str(trigger.serialize())
    assert event_of(trigger)["status"] == "success"


def test_a_connection_that_holds_a_kubeconfig_is_refused(run, api, monkeypatch, tmp_path):
    content = json.loads(api.kubeconfig(tmp_path / "kubeconfig").read_text())
    monkeypatch.setenv(CONNECTION, json.dumps({"conn_type": "kubernetes", "extra": {"kube_config": content}}))
    with pytest.raises(AirflowFailException, match="expected kube_config_path or in_cluster in connection"):
        Try.of(run, *JOB).execute()
    assert api.created == []


def test_a_false_success_of_the_pod_is_none_of_the_task(run, api):
    api.behave(behaviours.succeed_without_running)
    event = event_of(deferred(Try.of(run, *JOB)))
    assert event["status"] == "success"
    _, resume = resumed(run, event)
    with pytest.raises(AirflowException, match="exit code 0"):
        resume()
    assert_no_pod(api)


def test_a_pod_that_is_gone_before_the_task_goes_on_decides_nothing(run, api):
    trigger = deferred(Try.of(run, *JOB))
    event = event_of(trigger)
    api.delete_pod(trigger.pod_name, grace_s=0)
    api.wait_for(trigger.pod_name, None)
    attempt, resume = resumed(run, event)
    resume()
    assert_succeeded(attempt, run, api)


def test_a_pod_that_was_deleted_before_it_published_is_a_failure(run, api):
    trigger = deferred(Try.of(run, *JOB))
    api.delete_pod(trigger.pod_name, grace_s=0)
    api.wait_for(trigger.pod_name, None)
    _, resume = resumed(run, event_of(trigger))
    with pytest.raises(AirflowException, match="/_SUCCESS, got none"):
        resume()
    assert not is_published(run)


def test_a_registry_that_comes_back_costs_no_try(run, api):
    api.behave(behaviours.registry_down)
    event = event_of(deferred(Try.of(run, *JOB)))
    assert event["status"] == "success"
    attempt, resume = resumed(run, event)
    resume()
    assert_succeeded(attempt, run, api)


def test_an_image_that_cannot_be_pulled_fails_fast_and_in_one_line(run, api):
    api.behave(behaviours.image_pull_back_off)
    event = event_of(deferred(Try.of(run, *JOB)))
    assert event["status"] == "timeout"  # then nobody waits for the end of a pod that never starts
    _, resume = resumed(run, event)
    with pytest.raises(AirflowException, match="Image cannot be pulled") as failed:
        resume()
    assert "\n" not in str(failed.value)
    assert_no_pod(api)


def test_a_pod_deleted_before_its_start_is_told_with_its_last_state(run, api):
    api.behave(behaviours.never_created)
    trigger = deferred(Try.of(run, *JOB))
    once_watched(api, trigger.pod_name, lambda: api.delete_pod(trigger.pod_name, grace_s=0))
    event = event_of(trigger)
    _, resume = resumed(run, event)
    with pytest.raises(AirflowException, match="it was deleted; it was last seen ContainerCreating$") as failed:
        resume()
    assert "\n" not in str(failed.value)


def test_a_server_that_restarts_costs_the_trigger_nothing(run, api):
    trigger = deferred(Try.of(run, *JOB))
    body = {"message": 'pods is forbidden: User "airflow" cannot get resource "pods"'}
    fault = api.fail("GET", "/pods", 403, times=8, body=body)
    event = event_of(trigger)
    assert event["status"] == "success"
    assert fault.struck == 8
    attempt, resume = resumed(run, event)
    resume()
    assert_succeeded(attempt, run, api)


def test_an_event_of_failure_after_the_snapshot_is_there_is_a_success(run, api):
    trigger = deferred(Try.of(run, *JOB))
    event = event_of(trigger)
    attempt, resume = resumed(run, event | {"status": "error", "message": "the triggerer lost the pod"})
    resume()
    assert_succeeded(attempt, run, api)


def test_exit_code_2_is_never_retried(run, api):
    run.store.delete([keys.run_record(run.id, "concat_7d.build_split")])
    _, resume = resumed(run, event_of(deferred(Try.of(run, *JOB))))
    with pytest.raises(AirflowFailException, match="exit code 2"):
        resume()
    assert_no_pod(api)


def test_a_pod_nobody_has_room_for_is_given_up(run, api, monkeypatch):
    monkeypatch.setenv("CLIPFARM_POD_SCHEDULE_TIMEOUT_S", "1")
    api.behave(behaviours.pending_forever)
    event = event_of(deferred(Try.of(run, *JOB)))
    assert event["status"] == "timeout"
    _, resume = resumed(run, event)
    with pytest.raises(AirflowException, match="too long to be scheduled"):
        resume()
    assert_no_pod(api)


def test_a_person_who_ends_a_deferred_task_ends_its_pod(run, api):
    trigger = deferred(Try.of(run, *JOB))
    asyncio.run(trigger.on_kill())
    api.wait_for(trigger.pod_name, None)
    assert not is_published(run)
