"""Fixtures that every part of the suite shares: one real S3 server, a fresh bucket per test."""

import os
import shutil
import signal
import tempfile
import uuid
from pathlib import Path

import pytest

BUCKET = "clipfarm-test"


def pytest_configure(config):
    """Before any test module is imported: no Airflow home, credentials, proxies or threads of the user's own."""
    from clipfarm_tasks.stack.loopback import unproxied

    for name in [name for name in os.environ if name.startswith(("AIRFLOW_", "AWS_", "CLIPFARM_"))]:
        del os.environ[name]
    home = tempfile.mkdtemp(prefix="clipfarm-airflow-")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    os.environ |= unproxied(os.environ) | {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # Requests to Kubernetes are repeated as often as in production, but not as slowly.
        "AIRFLOW__WORKERS__API_RETRY_WAIT_MAX": "0.1",
        "AIRFLOW__WORKERS__API_RETRY_WAIT_MIN": "0.02",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        # The S3 server, a Go program, spends a fifth of its time on garbage: it may hold more of it, and up to this.
        "GOGC": "400",
        "GOMEMLIMIT": "1GiB",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def pytest_collection_modifyitems(items):
    """The files that take minutes come first: two processes share the files, and one would be alone with a last one."""
    items.sort(key=lambda item: "integration" not in item.path.parts)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    """A `SeaweedServer` with bucket ``clipfarm-test``; buckets that were not created do not exist."""
    from clipfarm_tasks.stack.seaweed import SeaweedServer

    with SeaweedServer(tmp_path_factory.mktemp("s3"), BUCKET) as server:
        yield server
        server.process.send(signal.SIGKILL)  # it would take 5 s to end in order, and nobody needs its data any more


@pytest.fixture(scope="session")
def s3_session(s3_server):
    """A boto3 session with the server's key pair."""
    import boto3

    from clipfarm_tasks.stack.seaweed import REGION

    return boto3.Session(
        aws_access_key_id=s3_server.access_key, aws_secret_access_key=s3_server.secret_key, region_name=REGION
    )


@pytest.fixture(scope="session")
def s3_client(s3_server):
    """A boto3 client of the server."""
    return s3_server.client()


@pytest.fixture(scope="session")
def shared_bucket(s3_server, s3_client):
    """The first write into a bucket allocates volumes, most of a second: tests share one, emptied in between."""
    from clipfarm_tasks.config import Settings

    name = f"test-{uuid.uuid4().hex[:16]}"
    s3_client.create_bucket(Bucket=name)
    return Settings.from_environment(s3_server.environment() | {"CLIPFARM_BUCKET": name})


@pytest.fixture
def bucket(shared_bucket, s3_client):
    """Settings of an empty bucket."""
    yield shared_bucket
    for page in s3_client.get_paginator("list_objects_v2").paginate(Bucket=shared_bucket.bucket):
        if left := [{"Key": item["Key"]} for item in page.get("Contents", [])]:
            s3_client.delete_objects(Bucket=shared_bucket.bucket, Delete={"Objects": left, "Quiet": True})


@pytest.fixture
def store(bucket, s3_session):
    """The test's own bucket as the pipeline's store."""
    from clipfarm_tasks.storage import open_store

    return open_store(bucket, s3_session)


@pytest.fixture(scope="session")
def repository():
    """Root of the checkout."""
    return Path(__file__).resolve().parents[1]
