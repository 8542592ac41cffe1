import json

import httpx
import pytest

from clipfarm_tasks.stack import airflow_client
from clipfarm_tasks.stack.airflow_client import AirflowClient, TaskState
from clipfarm_tasks.stack.errors import StackError

RUN = "manual__2026-11-22T14:41:04.5+00:00"
RUN_PATH = "/api/v2/dags/a_dag/dagRuns/manual__2026-11-22T14%3A41%3A04.5%2B00%3A00"


class FakeAirflow:
    """Answers by method and raw path; keeps what it was asked."""

    def __init__(self):
        self.answers = {("POST", "/auth/token"): [httpx.Response(201, json={"access_token": "secret"})]}
        self.requests = []

    def on(self, method, path, *answers):
        self.answers[method, path] = list(answers)

    def __call__(self, request):
        self.requests.append(request)
        answers = self.answers[request.method, request.url.raw_path.decode().partition("?")[0]]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def airflow(monkeypatch):
    monkeypatch.setattr(airflow_client, "_PAUSE_S", 0)
    monkeypatch.setattr(airflow_client, "_POLL_S", 0)
    return FakeAirflow()


@pytest.fixture
def client(airflow):
    with AirflowClient("http://airflow", "admin", "word", httpx.MockTransport(airflow)) as client:
        yield client


def ok(content):
    return httpx.Response(200, json=content)


def test_logs_in_once_and_sends_the_token(airflow, client):
    airflow.on("GET", RUN_PATH, ok({"state": "running"}))
    assert client.run_state("a_dag", RUN) == "running"
    login, read = airflow.requests
    assert json.loads(login.content) == {"username": "admin", "password": "word"}
    assert read.headers["Authorization"] == "Bearer secret"


def test_a_refused_login_is_not_repeated(airflow):
    airflow.on("POST", "/auth/token", httpx.Response(401, text="Invalid credentials"))
    with pytest.raises(
        StackError, match=r"expected success, got HTTP 401 Invalid credentials, in POST http://airflow/auth"
    ):
        AirflowClient("http://airflow", "admin", "wrong", httpx.MockTransport(airflow))
    assert len(airflow.requests) == 1


def test_a_server_that_is_down_is_named(airflow):
    airflow.on("POST", "/auth/token", httpx.ConnectError("refused"))
    with pytest.raises(
        StackError, match=r"expected Airflow to answer, got ConnectError: refused, in POST http://airflow/"
    ):
        AirflowClient("http://airflow", "admin", "word", httpx.MockTransport(airflow))


def test_a_read_is_repeated_after_a_server_error_and_a_broken_connection(airflow, client):
    airflow.on("GET", RUN_PATH, httpx.Response(500, text="locked"), httpx.ReadError("reset"), ok({"state": "failed"}))
    assert client.run_state("a_dag", RUN) == "failed"
    assert len(airflow.requests) == 4


def test_a_read_that_keeps_failing_is_reported(airflow, client):
    airflow.on("GET", RUN_PATH, httpx.Response(500, text="database is locked"))
    with pytest.raises(StackError, match=r"got HTTP 500 database is locked, in GET http://airflow/api/v2/dags/a_dag"):
        client.run_state("a_dag", RUN)
    assert len(airflow.requests) == 1 + 5


def test_a_trigger_is_never_repeated(airflow, client):
    airflow.on("POST", "/api/v2/dags/a_dag/dagRuns", httpx.Response(500, text="locked"), ok({"dag_run_id": "second"}))
    with pytest.raises(StackError, match="HTTP 500 locked"):
        client.trigger("a_dag")
    assert len(airflow.requests) == 2


def test_trigger_sends_params_without_a_logical_date(airflow, client):
    airflow.on("POST", "/api/v2/dags/a_dag/dagRuns", ok({"dag_run_id": RUN}))
    assert client.trigger("a_dag", {"seed": 1}) == RUN
    assert json.loads(airflow.requests[-1].content) == {"logical_date": None, "conf": {"seed": 1}}


def test_tasks_are_read_with_state_tries_and_duration(airflow, client):
    item = {"task_id": "concat_7d.train_ridge", "state": "success", "try_number": 2, "duration": 1.5, "pool": "x"}
    airflow.on("GET", f"{RUN_PATH}/taskInstances", ok({"task_instances": [item], "total_entries": 1}))
    assert client.tasks("a_dag", RUN) == [TaskState("concat_7d.train_ridge", "success", 2, 1.5)]


def test_log_lines_that_are_no_json_become_events(airflow, client):
    airflow.on("GET", f"{RUN_PATH}/taskInstances/t/logs/3", ok({"content": ["plain", {"event": "e", "level": "info"}]}))
    assert client.log("a_dag", RUN, "t", 3) == [{"event": "plain"}, {"event": "e", "level": "info"}]


def test_waiting_for_a_dag_ends_when_it_is_there(airflow, client):
    airflow.on(
        "GET",
        "/api/v2/dags",
        ok({"dags": []}),
        ok({"dags": [{"dag_id": "a_dag_2"}]}),
        ok({"dags": [{"dag_id": "a_dag"}]}),
    )
    airflow.on("GET", "/api/v2/importErrors", ok({"import_errors": []}))
    client.wait_for_dag("a_dag", 60)
    assert sum(request.url.path == "/api/v2/dags" for request in airflow.requests) == 3


def test_a_dag_file_with_an_error_is_reported_with_the_error(airflow, client):
    trace = "Traceback (most recent call last):\n  File ...\nImportError: no module named x\n"
    airflow.on("GET", "/api/v2/dags", ok({"dags": []}))
    airflow.on("GET", "/api/v2/importErrors", ok({"import_errors": [{"filename": "a.py", "stack_trace": trace}]}))
    with pytest.raises(StackError, match=r"expected DAG a_dag to load, got: a\.py: ImportError: no module named x$"):
        client.wait_for_dag("a_dag", 60)


def test_a_dag_that_never_comes_is_reported(airflow, client):
    airflow.on("GET", "/api/v2/dags", ok({"dags": []}))
    airflow.on("GET", "/api/v2/importErrors", ok({"import_errors": []}))
    with pytest.raises(StackError, match=r"expected DAG a_dag within 0 s, got none"):
        client.wait_for_dag("a_dag", 0)


def test_pools_are_created_or_resized_and_others_left_alone(airflow, client):
    present = [{"name": "default_pool", "slots": 128}, {"name": "cpu", "slots": 2}]
    airflow.on("GET", "/api/v2/pools", ok({"pools": present, "total_entries": 2}))
    airflow.on("PATCH", "/api/v2/pools/cpu", ok({}))
    airflow.on("POST", "/api/v2/pools", httpx.Response(201, json={}))
    client.set_pools({"cpu": 4, "gpu": 1})
    writes = [request for request in airflow.requests[1:] if request.method != "GET"]
    assert [(each.method, json.loads(each.content)) for each in writes] == [
        ("PATCH", {"pool": "cpu", "slots": 4, "include_deferred": True}),
        ("POST", {"name": "gpu", "slots": 1, "include_deferred": True}),
    ]
    assert writes[0].url.params.get_list("update_mask") == ["slots", "include_deferred"]


def test_nothing_listening_is_an_unhealthy_api_server():
    from clipfarm_tasks.stack.ports import free_ports

    assert AirflowClient.unhealthy(f"http://127.0.0.1:{free_ports(1)[0]}") == ["api-server"]
