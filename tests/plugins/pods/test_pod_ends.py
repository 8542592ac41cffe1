"""How a pod ends, and what the task says of it."""

import json
import threading
import time

import clipfarm_pod_lifecycle
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from clipfarm_tasks import keys
from tests.kubernetes import behaviours
from tests.plugins.pods.training_task import (
    CONNECTION,
    JOB,
    Try,
    assert_no_pod,
    assert_succeeded,
    is_published,
    marker_of,
    meanwhile,
    once_watched,
)

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("deployment")]


def test_exit_code_2_is_never_retried_and_says_why(run, api):
    run.store.delete([keys.run_record(run.id, "concat_7d.build_split")])
    with pytest.raises(
        AirflowFailException, match=r"exit code 2 .*expected concat_7d.build_split to have finished"
    ) as failed:
        Try.of(run, *JOB).execute()
    assert "Traceback" not in str(failed.value)
    assert_no_pod(api)


def test_other_exit_codes_are_retried(run, api, deployment):
    api.secrets["clipfarm-s3"] = deployment | {"PYTHONHOME": "/nowhere"}  # the interpreter itself does not start
    with pytest.raises(AirflowException, match="exit code 1 ") as failed:
        Try.of(run, *JOB).execute()
    assert not isinstance(failed.value, AirflowFailException)


def test_an_eviction_in_the_middle_is_told_and_tried_again(run, api):
    api.behave(behaviours.evicted(after_lines=1))
    told = r"Evicted: The node was low on resource.*exit code 137 \([A-Za-z]+\)$"  # and no line of its log after that
    with pytest.raises(AirflowException, match=told) as failed:
        Try.of(run, *JOB).execute()
    assert not isinstance(failed.value, AirflowFailException)
    second = Try.of(run, *JOB, number=2)
    second.execute()
    assert_succeeded(second, run, api, pods=2)


def test_out_of_memory_names_the_setting(run, api):
    api.behave(behaviours.oom_killed(after_lines=0))
    with pytest.raises(AirflowException, match=r"137 \(OOMKilled\); raise CLIPFARM_POD_RIDGE_MEMORY_MIB$"):
        Try.of(run, *JOB).execute()
    assert_no_pod(api)


def test_a_pod_deleted_from_outside_is_trained_again_by_the_next_try(run, api):
    attempt = Try.of(run, *JOB)
    once_watched(api, attempt.pod, lambda: api.delete_pod(attempt.pod))
    with pytest.raises(AirflowException):
        attempt.execute()
    assert not is_published(run)
    second = Try.of(run, *JOB, number=2)
    second.execute()
    assert_succeeded(second, run, api, pods=2)


def test_a_pod_deleted_while_its_container_is_created_is_told_in_one_line(run, api):
    """With the last state that was seen, and nothing of the answer's headers."""
    api.behave(behaviours.never_created)
    attempt = Try.of(run, *JOB)
    once_watched(api, attempt.pod, lambda: api.delete_pod(attempt.pod, grace_s=0))
    with pytest.raises(AirflowException) as failed:
        attempt.execute()
    assert str(failed.value).endswith(
        f"got none: pod {attempt.pod} (ContainerCreating): "
        f"expected pod {attempt.pod} until it ends, got none: it was deleted"
    )
    assert "\n" not in str(failed.value)


def test_a_pod_deleted_after_it_has_published_is_a_success(run, api):
    attempt = Try.of(run, *JOB)
    published = threading.Event()

    def delete():
        while not is_published(run):
            time.sleep(0.02)
        published.set()
        api.delete_pod(attempt.pod, grace_s=0)

    meanwhile(delete)
    attempt.execute()
    assert published.is_set()
    assert_succeeded(attempt, run, api)


def test_a_lost_node_is_given_up_and_its_pod_forced_away(run, api, monkeypatch):
    monkeypatch.setattr(clipfarm_pod_lifecycle, "_CONFIRMED_WITHIN_S", 1.0)
    monkeypatch.setenv("CLIPFARM_POD_GRACE_PERIOD_S", "0")
    api.behave(behaviours.node_lost(after_lines=0))
    with pytest.raises(AirflowException, match="no word of its node"):
        Try.of(run, *JOB).execute()
    second = Try.of(run, *JOB, number=2)
    second.execute()
    assert_succeeded(second, run, api, pods=2)


def test_a_snapshot_of_other_settings_is_no_success(run, api):
    run.step("train", *JOB)
    marker = json.loads(run.store.get(marker_of(run)))
    run.store.put(marker_of(run), json.dumps(marker | {"digest": "f" * 64}).encode())
    with pytest.raises(AirflowFailException, match="expected config digest"):
        Try.of(run, *JOB).execute()
    assert api.created == []


def test_without_a_connection_it_fails_at_once(run, api, monkeypatch, tmp_path):
    monkeypatch.delenv(CONNECTION)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(AirflowFailException, match="expected a connection to a Kubernetes cluster"):
        Try.of(run, *JOB).execute()
