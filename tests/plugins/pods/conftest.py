"""A deployment that trains in pods: a run that is ready to train, a bucket, and a cluster whose node really trains."""

import json

import clipfarm_pod_answer
import clipfarm_pod_lifecycle
import pytest
import yaml

from clipfarm_tasks.storage import open_store
from tests.kubernetes import pod_worker
from tests.kubernetes.api_server import KubernetesApi
from tests.kubernetes.warm_container import WarmContainer
from tests.plugins.pods.training_task import CONNECTION, IMAGE
from tests.steps.conftest import Run, Upstream


@pytest.fixture
def granted(repository):
    """The rights that the role of Airflow grants, as (verb, kind)."""
    documents = yaml.safe_load_all((repository / "deploy" / "kubernetes" / "access.yaml").read_text())
    [role] = [document for document in documents if document["kind"] == "Role"]
    return {(verb, kind) for rule in role["rules"] for verb in rule["verbs"] for kind in rule["resources"]}


@pytest.fixture
def api(granted):
    """The cluster; namespace ``clipfarm``. Whatever a test does, it needs no more rights than the role grants."""
    with KubernetesApi(namespace="clipfarm") as server:
        yield server
        assert {request.verb for request in server.requests} <= granted


@pytest.fixture(scope="session")
def ready(shared_bucket, s3_session):
    """(record of a run that is ready to train, all that it has written)."""
    store = open_store(shared_bucket, s3_session)
    Upstream(store).upload()
    run = Run(store, shared_bucket)
    run.resolve(models=["ridge", "concat_mlp"])
    run.splits()
    return run.record, run.alone()


@pytest.fixture
def run(store, bucket, ready):
    """A run that is ready to train; nobody else's bucket."""
    record, objects = ready
    store.put_many(objects.items())
    run = Run(store, bucket)
    run.record = record
    return run


@pytest.fixture
def warm_pods(monkeypatch):
    """Pods of the cluster start warm: these tests are about what becomes of a pod, not about how its program starts."""
    monkeypatch.setattr(pod_worker, "Container", WarmContainer)


@pytest.fixture
def deployment(monkeypatch, warm_pods, api, run, s3_server):
    """What a deployment sets: both connections, the image, and the pods' secret in the cluster."""
    s3 = s3_server.environment()
    credentials = {name: s3[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    api.secrets["clipfarm-s3"] = credentials
    connection = {
        "conn_type": "aws",
        "login": credentials["AWS_ACCESS_KEY_ID"],
        "password": credentials["AWS_SECRET_ACCESS_KEY"],
        "extra": {"endpoint_url": s3["AWS_ENDPOINT_URL"], "region_name": s3["AWS_REGION"]},
    }
    for name, value in {
        CONNECTION: api.connection(),
        "AIRFLOW_CONN_CLIPFARM_S3": json.dumps(connection),
        "CLIPFARM_BUCKET": run.settings.bucket,
        "CLIPFARM_POD_IMAGE": IMAGE,
        "CLIPFARM_POD_POLL_INTERVAL_S": "0.1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(clipfarm_pod_lifecycle, "_POLL_S", 0.05)
    monkeypatch.setattr(clipfarm_pod_lifecycle, "_QUOTA_POLL_S", 0.05)
    monkeypatch.setattr(clipfarm_pod_answer, "_ASKED_EVERY_S", 0.05)
    return credentials
