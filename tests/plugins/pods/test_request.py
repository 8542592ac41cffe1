"""The pod a job is trained in: the golden file a person can read, and the rules no setting may break."""

import pathlib
import re

import pytest
import yaml
from clipfarm_pod_request import Job, pod_name, run_label, training_pod
from kubernetes import client
from kubernetes.client import models as k8s

from clipfarm_tasks.config import Settings
from clipfarm_tasks.deployment.pods import PodSettings
from clipfarm_tasks.families import Family, Horizon, Strategy

GOLDEN = pathlib.Path(__file__).parents[3] / "docs" / "training-pod.yaml"
STORE = Settings(bucket="clips", endpoint_url="https://s3.example:8333", region="eu-west-1")
JOB = Job("scheduled__2026-03-01T00-00-00", "0123456789abcdef" * 4, Strategy.SUM_POOL, Horizon.D30, Family.CONCAT_MLP)
IMAGE = {"CLIPFARM_POD_IMAGE": "registry.example/clipfarm-trainer:1.0.0"}


def pod(job=JOB, store=STORE, **variables):
    return training_pod(job, PodSettings.from_environment(job.family, IMAGE | variables), store)


def plain(found):
    return client.ApiClient().sanitize_for_serialization(found)


class Typed:
    """What `kubernetes` wants to deserialise."""

    def __init__(self, body):
        self.data = body


def test_is_the_golden_pod():
    comment, _, text = GOLDEN.read_text().partition("\napiVersion")
    assert comment.startswith("#")
    assert plain(pod()) == yaml.safe_load("apiVersion" + text)


def test_golden_pod_is_valid_by_the_typed_models():
    import json

    body = yaml.safe_load(GOLDEN.read_text())
    found = client.ApiClient().deserialize(Typed(json.dumps(body)), "V1Pod")
    assert isinstance(found, k8s.V1Pod)
    assert plain(found) == body  # no field that the models do not know


@pytest.mark.parametrize("family", Family)
def test_a_job_runs_without_rights(family):
    spec = pod(Job("r", "d" * 64, Strategy.CONCAT, Horizon.D7, family)).spec
    [container] = spec.containers
    assert spec.automount_service_account_token is False
    assert spec.security_context.run_as_non_root
    assert spec.security_context.run_as_user > 0
    assert spec.security_context.seccomp_profile.type == "RuntimeDefault"
    assert container.security_context.read_only_root_filesystem
    assert container.security_context.allow_privilege_escalation is False
    assert container.security_context.capabilities.drop == ["ALL"]
    assert not container.security_context.privileged
    assert (spec.host_network, spec.host_pid, spec.host_ipc) == (None, None, None)
    assert [volume.empty_dir is not None for volume in spec.volumes] == [True]


def test_no_credentials_travel_in_the_pod(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-key-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret")
    text = str(plain(pod()))
    assert "the-key-id" not in text
    assert "the-secret" not in text
    [source] = pod().spec.containers[0].env_from
    assert source.secret_ref.name == "clipfarm-s3"
    assert not source.secret_ref.optional
    assert pod(CLIPFARM_POD_S3_SECRET="").spec.containers[0].env_from == []


def test_a_name_is_one_jobs_and_fits_a_host_name():
    names = set()
    for family in Family:
        for strategy in Strategy:
            for horizon in Horizon:
                for run in ("a" * 250, "a" * 249 + "b"):
                    for digest in ("0" * 64, "1" * 64):
                        name = pod_name(Job(run, digest, strategy, horizon, family), "clipfarm")
                        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])", name)
                        names.add(name)
    assert len(names) == len(Family) * 3 * 2 * 2 * 2
    assert pod_name(JOB, "clipfarm") == pod_name(JOB, "clipfarm") != pod_name(JOB, "other")


@pytest.mark.parametrize("run_id", ["manual__2026-03-01T00:00:00+00:00", "x" * 300, "a-run"])
def test_labels_are_valid_whatever_the_run_is_called(run_id):
    found = pod(Job(run_id, JOB.digest, JOB.strategy, JOB.horizon, JOB.family)).metadata.labels
    assert len(found) == 6
    for value in found.values():
        assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", value)
    assert found["clipfarm.io/run"] == run_label(run_id)


def test_a_gpu_is_requested_limited_and_tolerated_or_not_mentioned():
    spec = pod(CLIPFARM_POD_GPU_RESOURCE="amd.com/gpu", CLIPFARM_POD_GPUS="2").spec
    resources = spec.containers[0].resources
    assert resources.requests["amd.com/gpu"] == resources.limits["amd.com/gpu"] == "2"
    assert [toleration.key for toleration in spec.tolerations] == ["amd.com/gpu"]
    assert "gpu" not in str(plain(pod(CLIPFARM_POD_GPUS="0")))


def test_threads_and_memory_of_the_job_are_those_of_its_pod():
    environment = {item.name: item.value for item in pod(CLIPFARM_POD_CPUS="4").spec.containers[0].env}
    assert environment["CLIPFARM_TRAIN_THREADS"] == "4"
    assert Settings.from_environment(environment).train_memory_mib == 1024
    assert Settings.from_environment(environment).bucket == STORE.bucket


def test_pods_may_reach_the_bucket_at_another_address():
    found = pod(CLIPFARM_POD_S3_ENDPOINT_URL="http://10.0.0.1:8333")
    environment = {item.name: item.value for item in found.spec.containers[0].env}
    assert environment["AWS_ENDPOINT_URL"] == "http://10.0.0.1:8333"
    assert Settings.from_environment(environment).endpoint_url == "http://10.0.0.1:8333"


def test_placement_is_the_settings():
    spec = pod(
        CLIPFARM_POD_NODE_SELECTOR='{"pool": "gpu"}',
        CLIPFARM_POD_TOLERATIONS='[{"key": "spot", "operator": "Equal", "value": "yes"}]',
        CLIPFARM_POD_PRIORITY_CLASS="nightly",
        CLIPFARM_POD_RUNTIME_CLASS="nvidia",
        CLIPFARM_POD_IMAGE_PULL_SECRET="registry",
    ).spec
    assert spec.node_selector == {"pool": "gpu"}
    assert [(one.key, one.value) for one in spec.tolerations] == [("spot", "yes"), ("nvidia.com/gpu", None)]
    assert (spec.priority_class_name, spec.runtime_class_name) == ("nightly", "nvidia")
    assert [one.name for one in spec.image_pull_secrets] == ["registry"]
