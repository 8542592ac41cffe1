"""Which jobs become pods, and what their pods are like, from the environment."""

import pytest

from clipfarm_tasks.deployment.backend import TrainBackend, trains_in_pod
from clipfarm_tasks.deployment.pods import PodSettings
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import PRESETS, Family

SHA256 = "0" * 64
IMAGE = "registry.example/clipfarm-trainer:1.0.0"
GPU_FAMILIES = {family for family in Family if PRESETS[family].needs.gpu}
CONNECTION = {"AIRFLOW_CONN_KUBERNETES_DEFAULT": "{}"}


def settings(family=Family.GBDT, **variables):
    return PodSettings.from_environment(family, {"CLIPFARM_POD_IMAGE": IMAGE} | variables)


def pods(environment):
    return {family for family in Family if trains_in_pod(family, environment)}


def test_trains_locally_unless_told_otherwise():
    assert pods({}) == pods({"CLIPFARM_TRAIN_BACKEND": ""}) == pods({"CLIPFARM_TRAIN_BACKEND": "local"}) == set()
    assert pods(CONNECTION) == set()


def test_backend_kubernetes_trains_every_family_in_pods():
    assert pods({"CLIPFARM_TRAIN_BACKEND": "kubernetes"}) == set(Family)


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ({}, set()),
        (CONNECTION, GPU_FAMILIES),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, GPU_FAMILIES),
        ({"CLIPFARM_POD_CONNECTION_ID": "gpu_cluster"} | CONNECTION, set()),
        ({"CLIPFARM_POD_CONNECTION_ID": "gpu_cluster", "AIRFLOW_CONN_GPU_CLUSTER": "{}"}, GPU_FAMILIES),
    ],
)
def test_backend_auto_wants_a_gpu_family_and_a_cluster(cluster, expected):
    assert 0 < len(GPU_FAMILIES) < len(Family)
    assert pods({"CLIPFARM_TRAIN_BACKEND": "auto"} | cluster) == expected


def test_unknown_backend_is_refused():
    with pytest.raises(ConfigError, match="CLIPFARM_TRAIN_BACKEND to be one of local, kubernetes, auto, got 'docker'"):
        trains_in_pod(Family.GBDT, {"CLIPFARM_TRAIN_BACKEND": "docker"})
    assert len(TrainBackend) == 3


@pytest.mark.parametrize("family", Family)
def test_resources_follow_from_what_the_family_needs(family):
    needs = PRESETS[family].needs
    found = settings(family)
    assert (found.cpus, found.memory_mib, found.gpus) == (needs.cpus, needs.memory_mib, int(needs.gpu))


def test_a_familys_own_variable_goes_before_the_general_one():
    variables = {"CLIPFARM_POD_MEMORY_MIB": "4096", "CLIPFARM_POD_GBDT_MEMORY_MIB": "8192"}
    assert settings(Family.GBDT, **variables).memory_mib == 8192
    assert settings(Family.RIDGE, **variables).memory_mib == 4096


def test_gpu_can_be_switched_off_for_all_and_for_one():
    assert settings(Family.CONCAT_MLP, CLIPFARM_POD_GPUS="0").gpus == 0
    variables = {"CLIPFARM_POD_CONCAT_MLP_GPUS": "0"}
    assert settings(Family.CONCAT_MLP, **variables).gpus == 0
    assert settings(Family.GATED_FUSION_MLP, **variables).gpus == 1


def test_an_empty_variable_is_as_good_as_none_but_for_the_secret():
    assert settings(CLIPFARM_POD_MEMORY_MIB="", CLIPFARM_POD_PRIORITY_CLASS="") == settings()
    own = {"CLIPFARM_POD_MEMORY_MIB": "4096", "CLIPFARM_POD_GBDT_MEMORY_MIB": "", "CLIPFARM_POD_GBDT_IMAGE": ""}
    assert settings(Family.GBDT, **own).memory_mib == 4096
    assert settings().s3_secret == "clipfarm-s3"
    assert settings(Family.GBDT, CLIPFARM_POD_GBDT_S3_SECRET="").s3_secret is None
    assert settings(CLIPFARM_POD_S3_SECRET="").s3_secret is None


def test_structured_settings_are_json():
    found = settings(
        CLIPFARM_POD_NODE_SELECTOR='{"pool": "gpu"}',
        CLIPFARM_POD_TOLERATIONS='[{"key": "spot", "effect": "NoSchedule"}]',
    )
    assert found.node_selector == {"pool": "gpu"}
    [toleration] = found.tolerations
    assert (toleration.key, toleration.operator, toleration.effect) == ("spot", "Exists", "NoSchedule")


@pytest.mark.parametrize("image", ["clipfarm-trainer", "clipfarm-trainer:latest", "host:5000/clipfarm-trainer"])
def test_an_image_whose_content_may_change_is_refused(image):
    with pytest.raises(ConfigError, match="CLIPFARM_POD_IMAGE: .*tag other than latest, got '" + image):
        PodSettings.from_environment(Family.GBDT, {"CLIPFARM_POD_IMAGE": image})


@pytest.mark.parametrize(
    "image", ["a:1", "host:5000/a:1", f"a@sha256:{'0' * 64}", f"host:5000/a:latest@sha256:{'0' * 64}"]
)
def test_an_image_that_is_pinned_is_taken(image):
    assert PodSettings.from_environment(Family.GBDT, {"CLIPFARM_POD_IMAGE": image}).image == image


def test_every_problem_is_told_at_once_by_variable():
    variables = {
        "CLIPFARM_POD_GBDT_CPUS": "none",
        "CLIPFARM_POD_NODE_SELECTOR": "pool=gpu",
        "CLIPFARM_POD_POLL_INTERVAL_S": "90",
    }
    with pytest.raises(ConfigError) as refused:
        PodSettings.from_environment(Family.GBDT, variables)
    for part in (
        "pods of gbdt",
        "expected CLIPFARM_POD_IMAGE, got nothing",
        "CLIPFARM_POD_GBDT_CPUS: ",
        "got 'none'",
        "CLIPFARM_POD_NODE_SELECTOR: ",
        "expected JSON",
        "CLIPFARM_POD_POLL_INTERVAL_S: ",
    ):
        assert part in str(refused.value)
