"""Who is told of what, from the environment."""

import pytest

from clipfarm_tasks.deployment.alerts import AlertSettings
from clipfarm_tasks.errors import ConfigError

SLACK = {"CLIPFARM_ALERT_SLACK_CONNECTION": "clipfarm_slack"}
EMAIL = {"CLIPFARM_ALERT_EMAIL": "a@example.org, b@example.org,", "CLIPFARM_ALERT_SMTP_CONNECTION": "clipfarm_smtp"}


def refused(**variables):
    with pytest.raises(ConfigError) as error:
        AlertSettings.from_environment(variables)
    return str(error.value)


def test_nobody_is_told_unless_told_so():
    settings = AlertSettings.from_environment({})
    assert (settings.slack_connection, settings.email, settings.smtp_connection) == (None, (), None)
    assert (settings.late_after_min, settings.stale_after_hours) == (None, 36)
    empty = dict.fromkeys((*SLACK, *EMAIL, "CLIPFARM_ALERT_LATE_AFTER_MIN", "CLIPFARM_STALE_AFTER_HOURS"), "")
    assert AlertSettings.from_environment(empty) == settings


def test_every_variable_is_read(monkeypatch):
    others = {"CLIPFARM_ALERT_LATE_AFTER_MIN": "240", "CLIPFARM_STALE_AFTER_HOURS": "26.5"}
    for name, value in (SLACK | EMAIL | others).items():
        monkeypatch.setenv(name, value)
    settings = AlertSettings.from_environment()
    assert settings.model_dump() == {
        "slack_connection": "clipfarm_slack",
        "email": ("a@example.org", "b@example.org"),
        "smtp_connection": "clipfarm_smtp",
        "late_after_min": 240,
        "stale_after_hours": 26.5,
    }


@pytest.mark.parametrize("only", EMAIL)
def test_recipients_and_their_server_are_wanted_together(only):
    message = refused(**{only: EMAIL[only]})
    assert "expected CLIPFARM_ALERT_EMAIL and CLIPFARM_ALERT_SMTP_CONNECTION together, got only one" in message


def test_a_deadline_that_nobody_would_hear_of_is_refused():
    message = refused(CLIPFARM_ALERT_LATE_AFTER_MIN="60")
    assert "CLIPFARM_ALERT_LATE_AFTER_MIN: expected CLIPFARM_ALERT_SLACK_CONNECTION or CLIPFARM_ALERT_EMAIL" in message
    for channel in (SLACK, EMAIL):
        assert AlertSettings.from_environment(channel | {"CLIPFARM_ALERT_LATE_AFTER_MIN": "60"}).late_after_min == 60


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "soon"])
def test_a_limit_that_no_age_could_pass_is_refused(hours):
    message = refused(CLIPFARM_STALE_AFTER_HOURS=hours)
    assert message.startswith("alerts: CLIPFARM_STALE_AFTER_HOURS: Input should be ")
    assert message.endswith(f", got {hours!r}")


@pytest.mark.parametrize("variable", ["CLIPFARM_ALERT_SLACK_CONNECTION", "CLIPFARM_ALERT_SMTP_CONNECTION"])
def test_an_address_where_an_id_belongs_is_refused_and_not_repeated(variable):
    message = refused(**EMAIL | {variable: "https://hooks.example/T0/B0/secret"})
    assert f"{variable}: expected the id of an Airflow connection" in message
    assert "secret" not in message


def test_every_problem_is_told_at_once_by_variable():
    message = refused(
        CLIPFARM_ALERT_SLACK_CONNECTION="a b",
        CLIPFARM_ALERT_EMAIL="ops, Ops <ops@example.org>",
        CLIPFARM_ALERT_LATE_AFTER_MIN="0",
        CLIPFARM_STALE_AFTER_HOURS="x",
    )
    assert message.startswith("alerts: ")
    for part in (
        "CLIPFARM_ALERT_SLACK_CONNECTION: ",
        "CLIPFARM_ALERT_EMAIL: expected addresses as name@host, got 'ops', 'Ops <ops@example.org>'",
        "CLIPFARM_ALERT_LATE_AFTER_MIN: Input should be greater than or equal to 1, got '0'",
        "CLIPFARM_STALE_AFTER_HOURS: ",
    ):
        assert part in message
