"""A real Airflow with a DAG of the test's own: started, driven over REST, stopped in the middle of a task."""

import httpx
import pytest
from rich.console import Console

from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.stack.airflow_server import AirflowServer
from clipfarm_tasks.stack.demo import follow
from clipfarm_tasks.stack.errors import StackError
from clipfarm_tasks.stack.progress import TaskProgress
from tests.eventually import PATIENCE_S, eventually

S3 = {
    "CLIPFARM_BUCKET": "a-bucket",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "an-id",
    "AWS_SECRET_ACCESS_KEY": "a-secret",
    "AWS_REGION": "us-east-1",
}
# What tells a credential or runs something, asked without a token.
CLOSED = (
    ("GET", "/api/v2/connections"),
    ("GET", "/api/v2/dags"),
    ("POST", "/api/v2/dags/sample/dagRuns"),
    ("GET", "/auth/token"),
    ("GET", "/execution/connections/clipfarm_s3"),
    ("GET", "/ui/config"),
)
DAG = """
import os, subprocess, time
from airflow.sdk import BaseHook, Param, dag, task
from airflow.sdk.exceptions import AirflowFailException

@dag(schedule="@daily", params={"fail": Param(False, type="boolean")})
def sample():
    @task
    def see(params=None):
        if params["fail"]:
            raise AirflowFailException("expected a manifest, got none")
        from clipfarm_tasks.families import Family
        connection = BaseHook.get_connection("clipfarm_s3")
        return {
            "bucket": os.environ["CLIPFARM_BUCKET"],
            "login": connection.login,
            "password": connection.password,
            "extra": connection.extra_dejson,
            "threads": os.environ["OMP_NUM_THREADS"],
            "families": len(Family),
            "ambient": sorted(name for name in os.environ if name.startswith("AWS_")),
        }

    @task(pool="clipfarm_gpu")
    def linger():
        subprocess.run(["sleep", "300"], check=True)

    see() >> linger()

sample()
"""


@pytest.fixture
def airflow(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of another account")
    for name in ("dags", "plugins"):
        (tmp_path / name).mkdir()
    (tmp_path / "dags" / "sample.py").write_text(DAG)
    overrides = {"AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False", "CLIPFARM_CPU_SLOTS": "3"}
    return AirflowServer(tmp_path / "home", S3, tmp_path / "dags", tmp_path / "plugins", overrides)


@pytest.mark.integration
def test_runs_a_dag_tells_why_a_task_failed_and_leaves_nothing_running(airflow, capsys):
    with airflow, airflow.client() as client:
        pools = client.pools()
        assert (pools.pop("clipfarm_cpu"), pools.pop("clipfarm_gpu")) == (3, 1)
        client.set_pools({"clipfarm_cpu": 2})  # as a start with another size does
        assert client.pools() == pools | {"clipfarm_cpu": 2, "clipfarm_gpu": 1}

        client.wait_for_dag("sample")
        client.unpause("sample")

        run = client.trigger("sample")
        eventually(lambda: {task.task_id: task.state for task in client.tasks("sample", run)}["linger"] == "running")
        assert client.returned("sample", run, "see") == {
            "bucket": "a-bucket",
            "login": "an-id",
            "password": "a-secret",
            "extra": {"endpoint_url": "http://127.0.0.1:9", "region_name": "us-east-1"},
            "threads": "1",
            "families": 6,
            "ambient": ["AWS_EC2_METADATA_DISABLED"],
        }

        failing = client.trigger("sample", {"fail": True})
        with (
            pytest.raises(
                StackError, match=r"^task see failed at try 1:\nAirflowFailException: expected a manifest, got"
            ),
            TaskProgress(Console()) as progress,
        ):
            follow(client, "sample", failing, progress, airflow.require_running)
        assert "see: failed" in capsys.readouterr().out

        eventually(lambda: any(each.name() == "sleep" for each in members_of(airflow)))
        members = members_of(airflow)
        listening = {
            tuple(connection.laddr)
            for member in members
            for connection in member.net_connections("inet")
            if connection.status == "LISTEN"
        }
        url = httpx.URL(airflow.url)
        assert listening == {(url.host, url.port)} == {("127.0.0.1", url.port)}
        for method, path in CLOSED:
            answer = httpx.request(method, f"{airflow.url}{path}", timeout=PATIENCE_S, trust_env=False)
            assert answer.status_code in {401, 403, 405}, f"{method} {path}: {answer}"
    assert len(members) >= 5
    assert not [member for member in members if member.is_running()]


def members_of(airflow):
    return {member for server in airflow.servers for member in server.members()}


def test_a_pool_without_slots_is_refused_before_anything_starts(airflow, tmp_path):
    airflow._overrides["CLIPFARM_GPU_SLOTS"] = "none"
    with pytest.raises(ConfigError, match="expected CLIPFARM_GPU_SLOTS to be a whole number"):
        airflow.__enter__()
    assert not (tmp_path / "home").exists()


def test_a_database_that_cannot_be_made_is_reported_with_the_log_and_nothing_starts(airflow, tmp_path):
    (tmp_path / "home" / "airflow.db").mkdir(parents=True)
    with pytest.raises(
        StackError, match=r"expected airflow db migrate to succeed, got exit status 1; end of (.*\n)+.*unable"
    ):
        airflow.__enter__()
    assert airflow.servers == ()
