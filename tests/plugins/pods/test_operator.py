"""The operator against a Kubernetes API whose node really trains: what fails in production, one by one."""

import json
import os
import signal
import threading
import time

import clipfarm_pod_lifecycle
import pytest
import yaml
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
)

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import SnapshotRecord
from clipfarm_tasks.families import Family, Horizon, Strategy
from tests.kubernetes import behaviours
from tests.plugins.pods.training_task import CONNECTION, IMAGE, JOB, Try, assert_succeeded, is_published, marker_of

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("deployment")]


def without_empty(document):
    """Fields that hold something; the provider writes some that do not."""
    return {name: value for name, value in document.items() if value not in ({}, [], None)}


def after(seconds, call):
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
    return timer


def test_trains_in_a_pod_and_hands_on_what_the_local_task_would(run, api):
    attempt = Try.of(run, *JOB)
    returned = attempt.execute()
    assert_succeeded(attempt, run, api)
    assert returned == attempt.returned
    local = run.step("train", *JOB).model_dump(mode="json")
    assert returned == local | {"reused": False}
    assert set(attempt.ti.xcoms) == {"return_value", "pod_name", "pod_namespace"}
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
        assert secret not in json.dumps(attempt.ti.xcoms)
        assert secret not in caplog.text
        assert secret not in api.log(attempt.pod)
    [pod] = api.created
    assert pod["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "clipfarm-s3"}}]


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


# K1: a pod's success, and the worker's end, prove nothing.


def test_a_pod_that_succeeds_without_a_snapshot_is_a_failure(run, api):
    api.behave(behaviours.succeed_without_running)
    attempt = Try.of(run, *JOB)
    with pytest.raises(AirflowException, match=r"expected s3://.*/_SUCCESS, got none: pod .* exit code 0") as failed:
        attempt.execute()
    assert not isinstance(failed.value, AirflowFailException)
    assert attempt.returned is None
    assert api.pods() == []


def test_sigterm_of_the_worker_is_no_success_and_the_next_try_picks_the_pod_up(run, api):
    first = Try.of(run, *JOB)
    after(0.6, lambda: os.kill(os.getpid(), signal.SIGTERM))
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
    after(0.6, lambda: os.kill(os.getpid(), signal.SIGTERM))
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
    after(0.6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(AirflowException, match=": SIGTERM"):
        attempt.execute()
    [pod] = api.pods()
    assert "deletionTimestamp" not in pod["metadata"]


def test_sigterm_while_the_pod_waits_for_a_node_ends_the_wait(run, api):
    attempt = Try.of(run, *JOB)
    api.behave(behaviours.pending_forever)
    api.hang("GET", "/events", 5, times=5)
    began = time.monotonic()
    after(0.6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(AirflowException, match="SIGTERM"):
        attempt.execute()
    assert time.monotonic() - began < 4  # not the 1,200 s of the schedule, nor what an answer takes


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
    after(0.6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(AirflowException):
        attempt.execute()
    api.wait_for(attempt.pod, None)
    assert not is_published(run)


def test_sigterm_after_the_snapshot_is_published_is_a_success(run, api):
    attempt = Try.of(run, *JOB)
    attempt.operator.poll_interval = 30  # the pod ends while the operator sleeps
    api.behave(behaviours.log_error)

    def stop():
        while not is_published(run):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    after(0, stop)
    assert SnapshotRecord.model_validate(attempt.execute()).digest == run.record.digest


# K2, K3: no pod is left behind, none is adopted by mistake, and two never publish.


def test_a_retry_replaces_a_pod_that_has_ended(run, api):
    first = Try.of(run, *JOB)
    first.operator.process_pod_deletion = lambda *_, **__: False  # the worker died before it could
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
            attempt.operator.execute(attempt.context)
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
    assert api.pods() == []


def test_a_lost_answer_to_create_makes_no_second_pod(run, api):
    api.fail("POST", "/pods", 500, after=True)
    attempt = Try.of(run, *JOB)
    attempt.execute()
    assert_succeeded(attempt, run, api)


def test_a_pod_with_the_same_labels_but_another_name_is_left_alone(run, api, core_of):
    attempt = Try.of(run, *JOB)
    api.behave(behaviours.pending_forever, when=lambda pod: pod["metadata"]["name"] == "stranger")
    stranger = {
        "metadata": {"name": "stranger", "labels": {"kubernetes_pod_operator": "True", "task_id": "train_ridge"}},
        "spec": {"containers": [{"name": "base", "image": IMAGE}], "restartPolicy": "Never"},
    }
    core_of(api).create_namespaced_pod("clipfarm", stranger)
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
    cleanup = first.operator.cleanup
    successors = []

    def late(*arguments, **options):  # the next try was faster
        second = Try.of(run, *JOB, number=2).operator
        second.full_pod_spec = first.operator.full_pod_spec
        successors.append(second.get_or_create_pod(second.build_pod_request_obj(first.context), first.context))
        cleanup(*arguments, **options)

    first.operator.cleanup = late
    with pytest.raises(AirflowException):
        first.execute()
    [pod] = api.pods()
    assert pod["metadata"]["uid"] == successors[0].metadata.uid
    assert "deletionTimestamp" not in pod["metadata"]


# K4: there is no sidecar to lose.


def test_there_is_no_sidecar(run, api):
    Try.of(run, *JOB).execute()
    [pod] = api.created
    assert [container["name"] for container in pod["spec"]["containers"]] == ["base"]
    assert not any("exec" in request.path for request in api.requests)


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


# Ends of a pod.


def test_exit_code_2_is_never_retried_and_says_why(run, api):
    run.store.delete([keys.run_record(run.id, "concat_7d.build_split")])
    with pytest.raises(
        AirflowFailException, match=r"exit code 2 .*expected concat_7d.build_split to have finished"
    ) as failed:
        Try.of(run, *JOB).execute()
    assert "Traceback" not in str(failed.value)
    assert api.pods() == []


def test_other_exit_codes_are_retried(run, api, deployment):
    api.secrets["clipfarm-s3"] = deployment | {"PYTHONHOME": "/nowhere"}  # the interpreter itself does not start
    with pytest.raises(AirflowException, match="exit code 1 ") as failed:
        Try.of(run, *JOB).execute()
    assert not isinstance(failed.value, AirflowFailException)


def test_out_of_memory_names_the_setting(run, api):
    api.behave(behaviours.oom_killed(after_lines=0))
    with pytest.raises(AirflowException, match=r"137 \(OOMKilled\); raise CLIPFARM_POD_RIDGE_MEMORY_MIB"):
        Try.of(run, *JOB).execute()
    assert api.pods() == []


def test_a_pod_deleted_from_outside_is_trained_again_by_the_next_try(run, api):
    attempt = Try.of(run, *JOB)
    after(0.6, lambda: api.delete_pod(attempt.pod))
    with pytest.raises(AirflowException):
        attempt.execute()
    assert not is_published(run)
    second = Try.of(run, *JOB, number=2)
    second.execute()
    assert_succeeded(second, run, api, pods=2)


def test_a_pod_deleted_after_it_has_published_is_a_success(run, api):
    attempt = Try.of(run, *JOB)
    published = threading.Event()

    def delete():
        while not is_published(run):
            time.sleep(0.02)
        published.set()
        api.delete_pod(attempt.pod, grace_s=0)

    after(0, delete)
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
