"""What the demo makes of a run, told by a client that plays a fixed sequence."""

import io
import itertools

import pytest
from rich.console import Console

from clipfarm_tasks.stack import demo
from clipfarm_tasks.stack.airflow_client import TaskState
from clipfarm_tasks.stack.errors import StackError
from clipfarm_tasks.stack.patience import Patience
from clipfarm_tasks.stack.progress import TaskProgress


class FakeClient:
    def __init__(self, *steps):
        self.steps = list(steps)
        self.logs_asked = []

    def run_state(self, dag_id, run):
        return self.steps[0][0]

    def tasks(self, dag_id, run):
        state = self.steps[0][1]
        if len(self.steps) > 1:
            self.steps.pop(0)
        return [TaskState("concat_7d.train_ridge", state, 2, None)]

    def log(self, dag_id, run, task_id, try_number):
        self.logs_asked.append((task_id, try_number))
        return [{"event": "failed", "error_detail": [{"exc_type": "DataError", "exc_value": "too few rows"}]}]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(demo, "_POLL_S", 0)


def follow(client, require_running=lambda: None, limit=60):
    progress = TaskProgress(Console(file=io.StringIO()))
    demo.follow(client, "a_dag", "a_run", progress, require_running, limit)


def test_a_successful_run_returns():
    follow(FakeClient(("running", None), ("running", "running"), ("success", "success")))


def test_a_failed_task_ends_it_at_once_with_the_tasks_error():
    client = FakeClient(("running", "running"), ("running", "failed"))
    with pytest.raises(StackError, match=r"^task concat_7d\.train_ridge failed at try 2:\nDataError: too few rows$"):
        follow(client)
    assert client.logs_asked == [("concat_7d.train_ridge", 2)]


def test_a_task_that_will_be_retried_is_no_failure():
    follow(FakeClient(("running", "up_for_retry"), ("running", "running"), ("success", "success")))


def test_a_failed_run_without_a_failed_task_is_a_failure():
    with pytest.raises(StackError, match="expected the run to succeed, got failed, in a_dag a_run"):
        follow(FakeClient(("failed", "upstream_failed")))


def test_a_run_in_which_nothing_happens_is_given_up_and_what_was_running_is_named():
    with pytest.raises(
        StackError,
        match=r"change its state within 0 s, got none, while concat_7d\.train_ridge was running, in a_dag a_run",
    ):
        follow(FakeClient(("running", "running")), limit=0)


def test_a_run_that_goes_on_is_waited_for_however_long_it_takes(monkeypatch):
    hours = itertools.count(step=500.0)
    monkeypatch.setattr(demo, "Patience", lambda limit: Patience(limit, hours.__next__))
    states = [None, "scheduled", "queued", "running", "up_for_retry", "scheduled", "queued", "running"]
    follow(FakeClient(*[("running", state) for state in states], ("success", "success")), limit=600.0)
    with pytest.raises(StackError, match="change its state within 600 s"):
        follow(FakeClient(("running", "running")), limit=600.0)


def test_a_server_that_stopped_ends_it():
    def stopped():
        raise StackError("expected airflow scheduler to keep running")

    with pytest.raises(StackError, match="airflow scheduler"):
        follow(FakeClient(("running", "running")), stopped)
