"""No pod is left behind, none is adopted by mistake, two never publish, and there is no sidecar to lose."""

import threading

import pytest
from airflow.sdk.exceptions import AirflowException
from clipfarm_pod_lifecycle import create_or_adopt

from tests.kubernetes import behaviours
from tests.kubernetes.cluster_client import core_client
from tests.plugins.pods.training_task import IMAGE, JOB, Try, assert_no_pod, assert_succeeded, is_published

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("deployment")]


def test_a_retry_replaces_a_pod_that_has_ended(run, api):
    first = Try.of(run, *JOB)
    first.alter(lambda pod: vars(pod).update(process_pod_deletion=lambda *_, **__: False))  # its worker died before
    api.behave(behaviours.evicted())
    with pytest.raises(AirflowException, match="Evicted"):
        first.execute()
    assert len(api.pods()) == 1
    second = Try.of(run, *JOB, number=2)
    second.execute()
    assert_succeeded(second, run, api, pods=2)


def test_two_tries_at_once_share_one_pod(run, api):
    tries = [Try.of(run, *JOB, number=number) for number in (1, 2)]
    failures = []

    def execute(attempt):
        try:
            attempt.returned = attempt.operator.execute(attempt.context)
        except AirflowException as error:
            failures.append(error)

    threads = [threading.Thread(target=execute, args=(attempt,)) for attempt in tries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert tries[0].returned["success_sha256"] == tries[1].returned["success_sha256"]
    assert len(api.created) == 1
    assert_no_pod(api)


def test_a_lost_answer_to_create_makes_no_second_pod(run, api):
    api.fail("POST", "/pods", 500, after=True)
    attempt = Try.of(run, *JOB)
    attempt.execute()
    assert_succeeded(attempt, run, api)


def test_a_pod_with_the_same_labels_but_another_name_is_left_alone(run, api, tmp_path):
    attempt = Try.of(run, *JOB)
    api.behave(behaviours.pending_forever, when=lambda pod: pod["metadata"]["name"] == "stranger")
    stranger = {
        "metadata": {"name": "stranger", "labels": {"kubernetes_pod_operator": "True", "task_id": "train_ridge"}},
        "spec": {"containers": [{"name": "base", "image": IMAGE}], "restartPolicy": "Never"},
    }
    core_client(api, tmp_path).create_namespaced_pod("clipfarm", stranger)
    attempt.execute()
    assert is_published(run)
    assert [pod["metadata"]["name"] for pod in api.pods()] == ["stranger"]


def test_pods_carry_what_tells_them_apart(run, api):
    Try.of(run, *JOB).execute()
    [pod] = api.created
    labels = pod["metadata"]["labels"]
    assert labels["clipfarm.io/deployment"] == "clipfarm"
    assert labels["clipfarm.io/run"] == run.id
    assert labels["clipfarm.io/job"] == "concat_7d.train_ridge"
    assert pod["spec"]["activeDeadlineSeconds"] == 9000


def test_a_late_cleanup_leaves_the_pod_of_the_next_try_alone(run, api):
    first = Try.of(run, *JOB)
    api.behave(behaviours.evicted(), behaviours.pending_forever)
    successors = []

    def clean_up_late(pod_run):
        cleanup = pod_run.cleanup

        def late(*arguments, **options):  # the next try was faster
            spec = pod_run.build_pod_request_obj(first.context)
            successors.append(create_or_adopt(pod_run.client, spec, quota_patience_s=1))
            cleanup(*arguments, **options)

        pod_run.cleanup = late

    first.alter(clean_up_late)
    with pytest.raises(AirflowException):
        first.execute()
    [pod] = api.pods()
    assert pod["metadata"]["uid"] == successors[0].metadata.uid
    assert "deletionTimestamp" not in pod["metadata"]


def test_there_is_no_sidecar(run, api):
    Try.of(run, *JOB).execute()
    [pod] = api.created
    assert [container["name"] for container in pod["spec"]["containers"]] == ["base"]
    assert not any("exec" in request.path for request in api.requests)
