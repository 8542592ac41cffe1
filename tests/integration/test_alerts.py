"""Alerts out of a real Airflow: the failed gate from a task, the late run from the triggerer, the stale snapshot."""

import pytest

from clipfarm_tasks.stack.airflow_server import AirflowServer
from tests.alert_receivers import mail_server, webhook
from tests.eventually import eventually
from tests.integration.scheduler_api import Scheduled

pytestmark = pytest.mark.integration

ALERTS = {
    "CLIPFARM_ALERT_SLACK_CONNECTION": "clipfarm_slack",
    "CLIPFARM_ALERT_EMAIL": "a@example.org",
    "CLIPFARM_ALERT_SMTP_CONNECTION": "clipfarm_smtp",
    "CLIPFARM_ALERT_LATE_AFTER_MIN": "1",
    "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
}
# The real alerts on DAGs that end at once; only the deadline is a second instead of a minute.
DAGS = """
from datetime import timedelta
from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowFailException
from clipfarm_alerts import alerts

late = alerts("late")
for deadline in late["deadline"]:
    deadline.interval = timedelta(seconds=1)

@dag(dag_id="failing", schedule=None, **late)
def failing():
    @task(retries=2, **alerts("gate"))
    def gate():
        raise AirflowFailException("expected 3 snapshots, got 2; missing: concat_7d.train_gbdt")
    gate()

@dag(dag_id="stale", schedule=None)
def stale():
    @task(**alerts("stale"))
    def check_freshness():
        raise AirflowFailException("expected a complete run, got none")
    check_freshness()

failing()
stale()
"""


@pytest.fixture(scope="module")
def received():
    """(messages in Slack, mails, variables that lead to both)."""
    with webhook() as (bodies, slack), mail_server() as (mails, smtp):
        yield bodies, mails, slack | smtp


@pytest.fixture(scope="module")
def airflow(received, s3_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dags")
    (folder / "alerting.py").write_text(DAGS)
    home = tmp_path_factory.mktemp("airflow")
    overrides = ALERTS | received[2]
    with AirflowServer(home, s3_server.environment(), dags=folder, overrides=overrides) as server:
        yield server


def wait_for(messages, count):
    eventually(lambda: len(messages) >= count)
    return messages


def test_a_failed_gate_and_a_late_run_are_told_once_on_each_channel(airflow, received, s3_server):
    slack, mails, _ = received
    with airflow.client() as client:
        failing = Scheduled(airflow, client, s3_server, None, "failing")
        run = failing.trigger({})
        texts = sorted(body["text"] for body in wait_for(slack, 2))
        assert [text.splitlines()[0] for text in texts] == [
            f"*clipfarm: run {run} is late*",
            f"*clipfarm: run {run} is not complete*",
        ]
        assert f"DAG failing, run {run}, task gate, try 1\nexpected 3 snapshots, got 2; missing: concat_7d" in texts[1]
        assert f"Log: {airflow.url}/dags/failing/runs/" in texts[1]
        assert f"{airflow.url}/dags/failing/runs/" in texts[0]
        subjects = sorted(mail["Subject"] for mail in wait_for(mails, 2))
        assert subjects == [f"clipfarm: run {run} is late", f"clipfarm: run {run} is not complete"]
        assert failing.tries(run) == {"gate": 1}


def test_a_snapshot_that_stays_stale_is_not_told_every_hour(airflow, received, s3_server):
    slack, _, _ = received
    with airflow.client() as client:
        stale = Scheduled(airflow, client, s3_server, None, "stale")
        before = len(slack)
        assert before == 2  # nothing of the test before was told again meanwhile
        for hour in ("01", "02", "08"):
            due = f"2026-03-10T{hour}:30:00+00:00"
            body = {"logical_date": due, "run_after": due, "conf": {}}
            stale.wait(client._json("POST", "/api/v2/dags/stale/dagRuns", json=body)["dag_run_id"])
        told = [body["text"] for body in slack[before:]]
        assert [text.splitlines()[0] for text in told] == ["*clipfarm: no fresh snapshot*"] * 2
        assert "run manual__2026-03-10T01:30" in told[0]
        assert "run manual__2026-03-10T08:30" in told[1]
