"""What is left of a run's pods is deleted, and nothing else."""

import time
from datetime import timedelta

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from clipfarm_pod_janitor import delete_pods
from clipfarm_pod_request import Job, training_pod

from clipfarm_tasks.config import Settings
from clipfarm_tasks.deployment.pods import PodSettings
from clipfarm_tasks.families import Family, Horizon, Strategy
from tests.kubernetes import behaviours
from tests.kubernetes.cluster_client import core_client

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("deployment")]

OTHER_RUN = "another-run"


@pytest.fixture(autouse=True)
def backend(monkeypatch):
    monkeypatch.setenv("CLIPFARM_TRAIN_BACKEND", "kubernetes")


@pytest.fixture
def started(api, tmp_path):
    """Starts the pod of a job; returns its name once it is in ``phase``."""
    core = core_client(api, tmp_path)

    def start(run_id, family, phase, *behaviour, **variables):
        settings = PodSettings.from_environment(family, {"CLIPFARM_POD_IMAGE": "clipfarm-trainer:1"} | variables)
        pod = training_pod(Job(run_id, "d" * 64, Strategy.CONCAT, Horizon.D7, family), settings, Settings(bucket="b"))
        api.behave(*behaviour)
        core.create_namespaced_pod("clipfarm", pod)
        api.wait_for(pod.metadata.name, phase)
        return pod.metadata.name

    return start


def names(api):
    return {pod["metadata"]["name"] for pod in api.pods() if "deletionTimestamp" not in pod["metadata"]}


def test_deletes_every_pod_of_the_run_and_the_ended_ones_of_others(run, api, started):
    ours = {
        started(run.id, Family.GBDT, "Pending", behaviours.pending_forever),
        started(run.id, Family.RIDGE, "Failed", behaviours.evicted()),
    }
    ended = started(OTHER_RUN, Family.RIDGE, "Failed", behaviours.evicted())
    alive = started(OTHER_RUN, Family.GBDT, "Pending", behaviours.pending_forever)
    other = started(
        run.id, Family.GBDT, "Pending", behaviours.pending_forever, CLIPFARM_POD_DEPLOYMENT="another-airflow"
    )
    assert names(api) == ours | {ended, alive, other}
    assert delete_pods(run.record.model_dump(mode="json")) == {"deleted": 3}
    assert names(api) == {alive, other}
    assert delete_pods(run.record.model_dump(mode="json")) == {"deleted": 0}


def test_a_pod_that_has_outlived_all_of_its_limits_belongs_to_nobody(run, api, started, monkeypatch):
    waits = started(OTHER_RUN, Family.GBDT, "Pending", behaviours.pending_forever)
    assert delete_pods(run.record.model_dump(mode="json")) == {"deleted": 0}
    monkeypatch.setattr(PodSettings, "longest_life", timedelta(0))
    time.sleep(1.1)  # a cluster tells times in seconds
    assert delete_pods(run.record.model_dump(mode="json")) == {"deleted": 1}
    assert waits not in names(api)


def test_a_run_that_was_never_resolved_has_no_pods_of_its_own(api, started):
    ended = started(OTHER_RUN, Family.RIDGE, "Failed", behaviours.evicted())
    alive = started(OTHER_RUN, Family.GBDT, "Pending", behaviours.pending_forever)
    assert names(api) == {ended, alive}
    assert delete_pods(None) == {"deleted": 1}
    assert names(api) == {alive}


def test_a_deployment_without_pods_asks_nobody(api, monkeypatch):
    monkeypatch.setenv("CLIPFARM_TRAIN_BACKEND", "local")
    monkeypatch.delenv("CLIPFARM_POD_IMAGE")
    with pytest.raises(AirflowSkipException, match="trains in no pods"):
        delete_pods({})
    assert api.requests == []


def test_wrong_settings_are_told(monkeypatch):
    monkeypatch.setenv("CLIPFARM_POD_IMAGE", "clipfarm-trainer:latest")
    with pytest.raises(AirflowFailException, match="CLIPFARM_POD_IMAGE"):
        delete_pods({})
