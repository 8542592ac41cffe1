"""The same graph whichever backend trains: only the operator of the jobs differs."""

import json
import pathlib

import pytest

from tests.dags.fresh_process import answer_of

HERE = pathlib.Path(__file__).parent
DESCRIBE = """
import json, os, sys
from unittest import mock
from airflow.dag_processing.dagbag import DagBag

def describe():
    bag = DagBag(sys.argv[1], safe_mode=False)
    dag = bag.dags.get("clipfarm_training")
    tasks = {} if dag is None else {
        task.task_id: {
            "type": type(task).__name__,
            "upstream": sorted(task.upstream_task_ids),
            "rule": str(task.trigger_rule.value),
            "retries": task.retries,
            "pool": task.pool,
            "weight": task.priority_weight,
            "hours": task.execution_timeout.total_seconds() / 3600,
            "doc": task.doc_md,
        }
        for task in dag.tasks
    }
    return {"tasks": tasks, "errors": list(bag.import_errors.values())}

found = {}
for name, variables in json.loads(sys.argv[2]).items():
    with mock.patch.dict(os.environ, variables):
        found[name] = describe()
sys.stdout.write("\\n===\\n" + json.dumps(found))
"""
SERIALISE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
dag = DagBag(sys.argv[1], safe_mode=False).dags["clipfarm_training"]
sys.stdout.write("\\n===\\n" + json.dumps(DagSerialization.to_dict(dag), sort_keys=True))
"""
IN_A_TASK = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.execution_time import task_runner
assert "gate" in DagBag(sys.argv[1], safe_mode=False).dags["clipfarm_training"].task_ids
import clipfarm_runtime
from clipfarm_tasks.steps import catalog
store, _ = clipfarm_runtime.open_bucket()
sys.stdout.write("\\n===\\n" + json.dumps({"bucket": store.uri(""), "loaded": sorted(sys.modules)}))
"""
CLIENT = ("kubernetes", "kubernetes_asyncio", "airflow.providers.cncf.kubernetes.operators")
PODS = {"CLIPFARM_TRAIN_BACKEND": "kubernetes", "CLIPFARM_POD_IMAGE": "clipfarm-trainer:1.0.0"}
AUTO = PODS | {"CLIPFARM_TRAIN_BACKEND": "auto", "AIRFLOW_CONN_KUBERNETES_DEFAULT": '{"conn_type": "kubernetes"}'}
WRONG = {
    "no image": {"CLIPFARM_TRAIN_BACKEND": "kubernetes"},
    "latest": PODS | {"CLIPFARM_POD_IMAGE": "clipfarm-trainer:latest"},
    "no backend": {"CLIPFARM_TRAIN_BACKEND": "cluster"},
}
BACKENDS = {"local": {}, "kubernetes": PODS, "auto": AUTO, "kubernetes without GPU": PODS | {"CLIPFARM_POD_GPUS": "0"}}


@pytest.fixture(scope="module")
def described(root, airflow_environment):
    """The graph or what is wrong, by deployment: a process that imports Airflow parses under each, one by one."""
    return answer_of(airflow_environment, "-c", DESCRIBE, root / "dags", json.dumps(BACKENDS | WRONG))


@pytest.fixture(scope="module")
def by_backend(described):
    assert [described[name]["errors"] for name in BACKENDS] == [[]] * len(BACKENDS)
    return {name: described[name]["tasks"] for name in BACKENDS}


def jobs(tasks):
    return {name: task for name, task in tasks.items() if ".train_" in name}


def test_ids_edges_rules_docs_and_weights_are_one_and_the_same(by_backend):
    compared = ("upstream", "rule", "retries", "weight", "doc")
    graphs = {
        json.dumps({name: [task[key] for key in compared] for name, task in tasks.items()}, sort_keys=True)
        for tasks in by_backend.values()
    }
    assert len(graphs) == 1
    assert [len(tasks) for tasks in by_backend.values()] == [72] * len(BACKENDS)


def test_which_jobs_are_pods(by_backend):
    types = {
        backend: {name.partition(".train_")[2]: task["type"] for name, task in jobs(tasks).items()}
        for backend, tasks in by_backend.items()
    }
    assert set(types["local"].values()) == {"_PythonDecoratedOperator"}
    assert set(types["kubernetes"].values()) == {"TrainingPodOperator"}
    assert {name for name, kind in types["auto"].items() if kind == "TrainingPodOperator"} == {
        "concat_mlp",
        "gated_fusion_mlp",
        "tabm",
    }


def test_only_jobs_on_a_gpu_wait_for_one(by_backend):
    def on_gpu(backend):
        return {name.partition(".train_")[2] for name, task in by_backend[backend].items() if "gpu" in task["pool"]}

    gpu_families = {"concat_mlp", "gated_fusion_mlp", "tabm"}
    assert on_gpu("local") == on_gpu("kubernetes without GPU") == set()
    assert on_gpu("kubernetes") == on_gpu("auto") == gpu_families


def test_a_task_outlives_every_limit_of_its_pod(by_backend):
    for task in jobs(by_backend["kubernetes"]).values():
        assert task["hours"] > (1200 + 600 + 9000) / 3600


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no image", "expected CLIPFARM_POD_IMAGE, got nothing"),
        ("latest", "tag other than latest"),
        ("no backend", "expected CLIPFARM_TRAIN_BACKEND to be one of local, kubernetes, auto"),
    ],
)
def test_a_wrong_deployment_is_told_where_everybody_looks(described, name, problem):
    answer = described[name]
    assert answer["tasks"] == {}
    [error] = answer["errors"]
    assert problem in error


def test_pods_load_nothing_heavy_at_parse(root, airflow_environment):
    ours = [root / "dags", root / "plugins", root / "clipfarm_tasks"]
    answer = answer_of(airflow_environment | PODS, HERE / "guard.py", root / "dags", *ours)
    assert answer["errors"] == []
    assert "clipfarm_pod" in answer["ours"]
    assert {"kubernetes", "kubernetes_asyncio"} <= set(answer["heavy"])
    assert set(answer["heavy"]) & set(answer["loaded"]) == set()


def test_a_task_that_starts_no_pod_pays_for_none(root, airflow_environment):
    """It parses the DAG, imports what runs its step and opens the bucket, beside tasks that train in pods."""
    s3 = {
        "AIRFLOW_CONN_CLIPFARM_S3": '{"conn_type": "aws", "login": "id", "password": "key"}',
        "AWS_REGION": "us-east-1",
        "CLIPFARM_BUCKET": "clips",
    }
    answer = answer_of(airflow_environment | PODS | s3, "-c", IN_A_TASK, root / "dags")
    assert answer["bucket"].startswith("s3://clips")
    assert "clipfarm_pod" in answer["loaded"]
    assert [name for name in answer["loaded"] if name.startswith(CLIENT)] == []


def test_serialised_dag_with_pods_is_the_same_in_every_process(root, airflow_environment):
    variables = PODS | {
        "CLIPFARM_POD_NODE_SELECTOR": '{"b": "1", "a": "2"}',
        "CLIPFARM_POD_TOLERATIONS": '[{"key": "spot"}]',
    }
    first, second = (
        answer_of(airflow_environment | variables | {"PYTHONHASHSEED": seed}, "-c", SERIALISE, root / "dags")
        for seed in ("1", "2")
    )
    assert json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert " at 0x" not in json.dumps(first)
