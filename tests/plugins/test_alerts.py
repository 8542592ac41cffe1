"""What is sent, to whom and when. The notifiers are the providers' own; servers of the test's own receive."""

import asyncio
import json
import os
import subprocess
import sys
import types
from datetime import UTC, datetime

import pytest
from clipfarm_alerts import REMINDED_AT_HOUR, OnceADay, alerts

from clipfarm_tasks.errors import ConfigError, DataError
from tests.alert_receivers import mail_server, webhook

SLACK = {"CLIPFARM_ALERT_SLACK_CONNECTION": "clipfarm_slack"}
EMAIL = {"CLIPFARM_ALERT_EMAIL": "a@example.org,b@example.org", "CLIPFARM_ALERT_SMTP_CONNECTION": "clipfarm_smtp"}
LATE = {"CLIPFARM_ALERT_LATE_AFTER_MIN": "90"}
MISSING = DataError("expected 3 complete snapshots under s3://b/, got 2; missing: concat_7d.train_gbdt <gone> & 'lost'")
RUN_ID = "scheduled__2026-03-10T00:00:00+00:00"
KINDS = ("gate", "late", "stale")


@pytest.fixture
def configure(monkeypatch):
    """Set variables of the deployment for this test."""

    def set_all(*groups):
        for name, value in {name: value for group in groups for name, value in group.items()}.items():
            monkeypatch.setenv(name, value)

    return set_all


@pytest.fixture
def slack(configure):
    """Bodies of the messages sent to Slack."""
    with webhook() as (bodies, connection):
        configure(SLACK, connection)
        yield bodies


@pytest.fixture
def mailbox(configure):
    """Messages that were mailed."""
    with mail_server() as (messages, connection):
        configure(EMAIL, connection)
        yield messages


def context(**changes):
    """As much of a failed task's context as the messages ask for."""
    run = types.SimpleNamespace(dag_id="a_dag", run_id=RUN_ID, run_after=datetime(2026, 3, 10, 5, 30, tzinfo=UTC))
    task = types.SimpleNamespace(
        task_id="gate", try_number=1, log_url="http://airflow/log/of/gate", get_previous_dagrun=lambda: None
    )
    return {"dag_run": run, "ti": task, "exception": MISSING} | changes


def tell(kind, **changes):
    [callback] = alerts(kind)["on_failure_callback"]
    callback(context(**changes))


def late():
    """Send the deadline's message as the triggerer does."""
    run = {"dag_id": "a_dag", "dag_run_id": "manual__2026-03-10T04:30:00+00:00"}

    async def send(callback):
        from airflow.sdk._shared.module_loading import import_string

        await import_string(callback.path)(**callback.kwargs, context={"dag_run": run, "deadline": {"id": "7"}})

    [deadline] = alerts("late")["deadline"]
    asyncio.run(send(deadline.callback))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_added_until_a_channel_is_named(kind):
    assert alerts(kind) == {}


def test_a_deadline_wants_a_time_and_the_others_do_not(configure):
    configure(SLACK)
    assert alerts("late") == {}
    assert len(alerts("gate")["on_failure_callback"]) == len(alerts("stale")["on_failure_callback"]) == 1
    configure(EMAIL, LATE)
    deadlines = alerts("late")["deadline"]
    assert [each.interval.total_seconds() for each in deadlines] == [5400, 5400]
    # A run by hand has no logical date to count from.
    assert [each.reference.reference_name for each in deadlines] == ["DagRunQueuedAtDeadline"] * 2
    assert [type(each).__name__ for each in alerts("gate")["on_failure_callback"]] == [
        "SlackWebhookNotifier",
        "SmtpNotifier",
    ]


def test_wrong_settings_are_refused_when_the_dag_is_parsed(configure):
    configure(LATE)
    with pytest.raises(ConfigError, match="CLIPFARM_ALERT_LATE_AFTER_MIN: expected"):
        alerts("gate")


def test_a_failed_gate_says_in_slack_what_is_missing_and_where_the_log_is(slack):
    tell("gate")
    [body] = slack
    assert body["text"].splitlines() == [
        "*clipfarm: run scheduled__2026-03-10T00:00:00+00:00 is not complete*",
        "Expected a run whose every requested job has its snapshot, got a failed verdict.",
        "DAG a_dag, run scheduled__2026-03-10T00:00:00+00:00, task gate, try 1",
        # Slack's own three escapes, and no other: it would show them.
        "expected 3 complete snapshots under s3://b/, got 2; missing: concat_7d.train_gbdt &lt;gone&gt; &amp; 'lost'",
        "Log: http://airflow/log/of/gate",
    ]


def test_a_failed_gate_says_in_a_mail_what_is_missing_and_where_the_log_is(mailbox):
    tell("gate")
    [message] = mailbox
    assert message["From"] == "clipfarm@example.org"
    assert message["To"] == "a@example.org, b@example.org"
    assert message["Subject"] == "clipfarm: run scheduled__2026-03-10T00:00:00+00:00 is not complete"
    [part] = [part for part in message.walk() if part.get_content_type() == "text/html"]
    content = part.get_content()
    assert "missing: concat_7d.train_gbdt &lt;gone&gt; &amp; &#39;lost&#39;\n" in content
    assert "Log: http://airflow/log/of/gate</pre>" in content


def test_a_task_that_was_killed_has_a_message_too(slack):
    tell("gate", exception=None)
    assert "The task ended without an error of its own: it was killed\n" in slack[0]["text"]


@pytest.fixture
def base_url(monkeypatch):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.example/base/")


def test_a_late_run_is_told_in_slack_with_its_address(slack, configure, base_url):
    configure(LATE)
    late()
    assert slack[0]["text"].splitlines() == [
        "*clipfarm: run manual__2026-03-10T04:30:00+00:00 is late*",
        "Expected a complete run 90 min after it was queued, got one that has failed or goes on.",
        "DAG a_dag, run manual__2026-03-10T04:30:00+00:00",
        "Missing is what is not green there, and behind it is its log:",
        "http://airflow.example/base/dags/a_dag/runs/manual__2026-03-10T04%3A30%3A00%2B00%3A00",
    ]


def test_a_late_run_is_told_by_mail(mailbox, configure):
    configure(LATE)
    late()
    assert mailbox[0]["Subject"] == "clipfarm: run manual__2026-03-10T04:30:00+00:00 is late"


def test_deadlines_hold_no_credentials_and_only_plain_types(slack, mailbox, configure):
    configure(LATE)
    for deadline in alerts("late")["deadline"]:
        arguments = json.dumps(deadline.callback.kwargs)
        assert json.loads(arguments) == deadline.callback.kwargs
        assert "secret" not in arguments
        assert "127.0.0.1" not in arguments


def run_before(state):
    return types.SimpleNamespace(run_id="before", state=state)


@pytest.mark.parametrize(
    ("before", "hour", "told"),
    [
        (None, 5, True),
        (run_before("success"), 5, True),
        (run_before("running"), 5, True),
        (run_before("failed"), 5, False),
        (run_before("failed"), REMINDED_AT_HOUR, True),
    ],
)
def test_a_stale_snapshot_is_told_when_it_turns_stale_and_once_a_day(slack, before, hour, told):
    changed = context()
    changed["ti"].get_previous_dagrun = lambda: before
    changed["dag_run"].run_after = datetime(2026, 3, 10, hour, 30, tzinfo=UTC)
    tell("stale", **changed)
    assert len(slack) == told
    if told:
        assert slack[0]["text"].startswith("*clipfarm: no fresh snapshot*\nExpected a complete run of the last 36 h")


def test_a_day_of_hourly_failures_is_told_twice_at_most():
    seen = []
    callback = OnceADay(seen.append)
    state = "success"
    for hour in range(24):
        changed = context()
        changed["ti"].get_previous_dagrun = lambda state=state: run_before(state)
        changed["dag_run"].run_after = datetime(2026, 3, 10, hour, 30, tzinfo=UTC)
        callback(changed)
        state = "failed"
    assert [each["dag_run"].run_after.hour for each in seen] == [0, REMINDED_AT_HOUR]


def test_unconfigured_it_loads_no_provider(tmp_path):
    script = "import sys, clipfarm_alerts; clipfarm_alerts.alerts('gate'); print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "AIRFLOW_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    assert "clipfarm_alerts" in done.stdout
    assert "airflow.providers" not in done.stdout
