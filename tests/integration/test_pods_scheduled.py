"""A night in pods under the real scheduler: a pod is deleted, a worker is stopped, and the numbers stay the same."""

import json
import os
import signal
import subprocess
import sys
import time
from urllib.parse import urlsplit

import psutil
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.config import Settings
from clipfarm_tasks.families import DEFAULT_FAMILIES, Family, Horizon, Strategy, model_names
from clipfarm_tasks.stack.airflow_server import AirflowServer
from tests.eventually import PATIENCE_S, eventually
from tests.integration.scheduler_api import Scheduled
from tests.integration.warm_tasks import warm_home
from tests.kubernetes.api_server import KubernetesApi

pytestmark = pytest.mark.integration

BUCKET = "in-pods"
PARAMS = {"strategies": ["concat"], "horizons": ["7"], "max_epochs": 2, "patience": 2, "projector_dim": 8}
AS_OPTIONS = (
    *("--strategy", "concat", "--horizon", "7"),
    *("--max-epochs", "2", "--patience", "2", "--projector-dim", "8"),
)
JOBS = {f"concat_7d.train_{family}" for family in DEFAULT_FAMILIES}
DELETED, STOPPED = "train_concat_mlp", "train_gbdt"


@pytest.fixture(scope="module")
def cluster(s3_server):
    environment = s3_server.environment()
    with KubernetesApi(namespace="clipfarm") as api:
        api.secrets["clipfarm-s3"] = {
            name: environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        }
        yield api


@pytest.fixture(scope="module")
def scheduled(s3_server, s3_session, cluster, tmp_path_factory):
    from clipfarm_tasks.sample.write import write_sample
    from clipfarm_tasks.storage import open_store

    s3_server.client().create_bucket(Bucket=BUCKET)
    environment = s3_server.environment() | {"CLIPFARM_BUCKET": BUCKET}
    store = open_store(Settings.from_environment(environment), s3_session)
    write_sample(store, videos=80, width=16)
    overrides = {
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": cluster.connection(),
        "CLIPFARM_TRAIN_BACKEND": "kubernetes",
        "CLIPFARM_POD_IMAGE": "clipfarm-trainer:1.0.0",
        "CLIPFARM_POD_GPUS": "0",
        "CLIPFARM_POD_POLL_INTERVAL_S": "1",
    }
    with (
        AirflowServer(warm_home(tmp_path_factory.mktemp("airflow")), environment, overrides=overrides) as airflow,
        airflow.client() as client,
    ):
        yield Scheduled(airflow, client, s3_server, store, "clipfarm_training")


def pod_of(cluster, task, within_s=PATIENCE_S):
    """Name of the pod of a task once it runs."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        for pod in cluster.pods():
            if pod["metadata"]["labels"]["clipfarm.io/job"].endswith(task) and pod["status"]["phase"] == "Running":
                return pod["metadata"]["name"]
        time.sleep(0.1)
    raise TimeoutError(f"expected a running pod of {task}, got {cluster.pods()}")


def watchers(cluster, airflow):
    """The task processes that talk to the cluster."""
    port = urlsplit(cluster.url).port
    for server in airflow.servers:
        for process in psutil.Process(server.pid).children(recursive=True):
            if any(connection.raddr and connection.raddr.port == port for connection in process.net_connections()):
                yield process


@pytest.fixture(scope="module")
def night(scheduled, cluster):
    """The run, after what it had to survive."""
    run = scheduled.client.trigger("clipfarm_training", PARAMS)
    cluster.delete_pod(pod_of(cluster, DELETED))
    kept = pod_of(cluster, STOPPED)
    stopped = [process.pid for process in watchers(cluster, scheduled.airflow)]
    for pid in stopped:
        os.kill(pid, signal.SIGTERM)
    assert stopped
    return scheduled.wait(run), kept


def test_every_job_is_trained_in_a_pod_and_the_run_succeeds(scheduled, cluster, night):
    run, _ = night
    assert scheduled.report(run)["state"] == "success"
    states = scheduled.states(run)
    assert {states[job] for job in JOBS} == {"success"}
    assert states["delete_pods"] == "success"
    assert {pod["metadata"]["labels"]["clipfarm.io/job"] for pod in cluster.created} == JOBS


def test_the_deleted_pod_cost_a_try_and_the_stopped_worker_no_pod(scheduled, cluster, night):
    run, kept = night
    tries = scheduled.tries(run)
    assert tries[f"concat_7d.{DELETED}"] >= 2
    assert tries[f"concat_7d.{STOPPED}"] >= 2
    names = [pod["metadata"]["name"] for pod in cluster.created]
    assert names.count(kept) == 1


def test_no_pod_is_left(cluster, night):
    eventually(lambda: not cluster.pods())


def test_the_numbers_are_those_of_the_local_backend(scheduled, night, repository):
    run, _ = night
    environment = os.environ | scheduled.s3.environment() | {"CLIPFARM_BUCKET": BUCKET}
    command = [sys.executable, "-m", "clipfarm_tasks", "run", "--run-id", "by-hand", "--jobs", "1", *AS_OPTIONS]
    done = subprocess.run(
        command, cwd=repository, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    in_pods, local = (scheduled.compared(run_id) for run_id in (scheduled.pipeline_run(run), "by-hand"))
    assert len(in_pods) == len(model_names(DEFAULT_FAMILIES))
    own = {"metrics_key", "run_id"}
    assert [{k: v for k, v in row.items() if k not in own} for row in in_pods] == [
        {k: v for k, v in row.items() if k not in own} for row in local
    ]


def test_xcom_is_the_record_of_the_local_task_and_nothing_secret(scheduled, cluster, night):
    run, _ = night
    pipeline_run = scheduled.pipeline_run(run)
    returned = scheduled.returned(run, "concat_7d.train_ridge")
    assert returned["snapshot_key"] == keys.job_snapshot(pipeline_run, Family.RIDGE, Strategy.CONCAT, Horizon(7))
    for secret in cluster.secrets["clipfarm-s3"].values():
        assert secret not in json.dumps(cluster.created)
        assert secret not in scheduled.client.log("clipfarm_training", run, "concat_7d.train_ridge", 1)
