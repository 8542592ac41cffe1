"""One try of a job in a pod: what it hands on, what it sends, what it needs."""

import json

import pytest
import yaml
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from clipfarm_pod_janitor import delete_pods

from clipfarm_tasks.families import Family, Horizon, Strategy
from tests.kubernetes import behaviours
from tests.plugins.pods.training_task import JOB, Try, assert_succeeded

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("deployment")]


@pytest.fixture
def warm_pods():
    """Here a pod's program starts as in production."""


def without_empty(document):
    """Fields that hold something; the provider writes some that do not."""
    return {name: value for name, value in document.items() if value not in ({}, [], None)}


def test_trains_in_a_pod_and_hands_on_what_the_local_task_would(run, api):
    attempt = Try.of(run, *JOB)
    returned = attempt.execute()
    assert_succeeded(attempt, run, api)
    local = run.step("train", *JOB).model_dump(mode="json")
    assert returned == local | {"reused": False}
    assert set(attempt.ti.xcoms) == {"pod_name", "pod_namespace"}
    assert "train_ridge: done" in api.log(attempt.pod)


def test_a_finished_job_needs_no_pod(run, api):
    run.step("train", *JOB)
    attempt = Try.of(run, *JOB)
    assert attempt.execute()["reused"] is True
    assert api.created == []


def test_what_the_run_does_not_ask_for_is_skipped(run, api):
    with pytest.raises(AirflowSkipException, match="does not ask for strategy=concat horizon=30"):
        Try.of(run, Strategy.CONCAT, Horizon.D30, Family.RIDGE).execute()
    assert api.created == []


def test_an_unresolved_run_fails_at_once(run, api):
    with pytest.raises(AirflowFailException, match="resolve_run did not finish"):
        Try.of(run, *JOB, record={}).execute()
    assert api.created == []


def test_no_credentials_in_pod_xcom_or_log(run, api, deployment, caplog):
    attempt = Try.of(run, *JOB)
    attempt.execute()
    for secret in deployment.values():
        assert secret not in json.dumps(api.created)
        assert secret not in json.dumps([attempt.ti.xcoms, attempt.returned])
        assert secret not in caplog.text
        assert secret not in api.log(attempt.pod)
    [pod] = api.created
    assert pod["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "clipfarm-s3"}}]


def test_every_right_of_the_role_is_used(run, api, granted, monkeypatch):
    """What nobody needs, nobody is given: one try that fails, one that succeeds, and what deletes the rest."""
    monkeypatch.setenv("CLIPFARM_TRAIN_BACKEND", "kubernetes")
    api.behave(behaviours.evicted())
    with pytest.raises(AirflowException, match="Evicted"):
        Try.of(run, *JOB).execute()
    Try.of(run, *JOB, number=2).execute()
    delete_pods(run.record.model_dump(mode="json"))
    assert {request.verb for request in api.requests} == granted


def test_the_pod_as_sent_is_the_golden_one(run, api, repository):
    """What the provider merges into it must neither add a right nor take a limit away."""
    Try.of(run, *JOB).execute()
    [sent] = api.created
    golden = yaml.safe_load((repository / "docs" / "training-pod.yaml").read_text())
    assert set(golden["metadata"]["labels"]) <= set(sent["metadata"]["labels"])
    assert sent["metadata"]["annotations"] == golden["metadata"]["annotations"]
    ours, theirs = sent["spec"], golden["spec"]
    [container], [expected] = ours.pop("containers"), theirs.pop("containers")
    assert theirs.pop("tolerations")  # of a GPU, which ridge does not want
    assert not ours.pop("tolerations", None)
    assert ours.pop("hostNetwork") is False
    assert without_empty(ours) == theirs
    for field in ("args", "env", "image", "resources"):  # another job, another bucket
        assert container.pop(field)
        expected.pop(field)
    assert without_empty(container) == expected
