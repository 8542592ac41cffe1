"""What a DAG or a task is given so that somebody is told: a failed verdict, a late run, a stale snapshot.

Nothing, until `AlertSettings` names a channel. The messages are sent by the providers' notifiers, which fetch the
credentials from their connection when they send: neither a DAG nor its serialised form holds any.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from string import Template
from typing import TYPE_CHECKING, Any, Literal

from clipfarm_tasks.deployment.alerts import AlertSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow.sdk import BaseNotifier

REMINDED_AT_HOUR = 8  # UTC

# Jinja is rendered by the notifier when it sends, in the context of the task that failed, or for "late" in one of
# nothing but the run, as the REST API shows it. $ is filled in here.
_WHERE = "DAG {{ dag_run.dag_id }}, run {{ dag_run.run_id }}, task {{ ti.task_id }}, try {{ ti.try_number }}"
_WHY = "{{ exception | default('The task ended without an error of its own: it was killed', true)$escaped }}"
_LOG = "Log: {{ ti.log_url }}"
_SUBJECTS = {
    "gate": "clipfarm: run {{ dag_run.run_id }} is not complete",
    "late": "clipfarm: run {{ dag_run.dag_run_id }} is late",
    "stale": "clipfarm: no fresh snapshot",
}
_LINES = {
    "gate": (
        "Expected a run whose every requested job has its snapshot, got a failed verdict.",
        _WHERE,
        _WHY,
        _LOG,
    ),
    "late": (
        "Expected a complete run $minutes min after it was queued, got one that has failed or goes on.",
        "DAG {{ dag_run.dag_id }}, run {{ dag_run.dag_run_id }}",
        "Missing is what is not green there, and behind it is its log:",
        "$url/dags/{{ dag_run.dag_id }}/runs/{{ dag_run.dag_run_id | urlencode }}",
    ),
    "stale": (
        "Expected a complete run of the last $hours h, got none, or no answer.",
        _WHERE,
        _WHY,
        _LOG,
    ),
}
_FOR_SLACK = " | replace('&', '&amp;') | replace('<', '&lt;') | replace('>', '&gt;')"  # the three it has escapes for
_FOR_HTML = " | e"

log = logging.getLogger(__name__)


def alerts(kind: Literal["gate", "late", "stale"]) -> dict[str, Any]:
    """Keyword arguments of the task that judges (``gate``, ``stale``) or of ``@dag`` (``late``); none if unconfigured.

    Raises:
        ConfigError: the settings are wrong.
    """
    settings = AlertSettings.from_environment()
    channels = list(_channels(kind, settings))
    if kind == "late":
        return _deadlines(channels, settings.late_after_min) if settings.late_after_min else {}
    if not channels:
        return {}
    notifiers = [notifier(**arguments) for notifier, arguments in channels]
    return {"on_failure_callback": [OnceADay(each) for each in notifiers] if kind == "stale" else notifiers}


class OnceADay:
    """Passes the failure of an hourly check on when the check before it had not failed, and then once a day."""

    def __init__(self, notifier: BaseNotifier) -> None:
        """Tell by ``notifier``."""
        self.notifier = notifier

    def __call__(self, context: Mapping[str, Any]) -> None:
        """Called by Airflow with the context of the task that failed."""
        before = context["ti"].get_previous_dagrun()
        if before is None or before.state != "failed" or context["dag_run"].run_after.hour == REMINDED_AT_HOUR:
            self.notifier(context)
        else:
            log.info("not told again: %s had failed too; the next message is at %d:00", before.run_id, REMINDED_AT_HOUR)


def _channels(kind: str, settings: AlertSettings) -> Iterator[tuple[type[BaseNotifier], dict[str, Any]]]:
    """Notifier and its arguments, by channel. Only what is configured is imported: every parse pays for it."""
    subject = _SUBJECTS[kind]
    if settings.slack_connection:
        from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier

        text = _text(kind, settings, _FOR_SLACK)
        yield SlackWebhookNotifier, {"slack_webhook_conn_id": settings.slack_connection, "text": f"*{subject}*\n{text}"}
    if settings.email:
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        text = f"<pre>{_text(kind, settings, _FOR_HTML)}</pre>"
        # Plain types alone: what is serialised must come back equal, or every parse makes a new version of the DAG.
        to = {"smtp_conn_id": settings.smtp_connection, "to": [*settings.email]}
        yield SmtpNotifier, to | {"subject": subject, "html_content": text}


def _text(kind: str, settings: AlertSettings, escaped: str) -> str:
    from airflow.sdk.configuration import conf

    return Template("\n".join(_LINES[kind])).substitute(
        escaped=escaped,
        minutes=settings.late_after_min,
        hours=f"{settings.stale_after_hours:g}",
        url=conf.get("api", "base_url", fallback="").rstrip("/"),
    )


def _deadlines(channels: list[tuple[type[BaseNotifier], dict[str, Any]]], minutes: int) -> dict[str, Any]:
    """One deadline for each channel.

    From the time a run was queued: a run triggered by hand has no logical date, and the first run after a DAG was
    unpaused has one of long ago. The scheduler finds the miss and the triggerer sends: neither takes a worker's slot,
    which a late run may have taken all of. A run that failed is late too: Airflow forgets the deadline of a run only
    when it succeeds.
    """
    from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference

    return {
        "deadline": [
            DeadlineAlert(
                name=f"late, told by {notifier.__name__}",
                reference=DeadlineReference.DAGRUN_QUEUED_AT,
                interval=timedelta(minutes=minutes),
                callback=AsyncCallback(notifier, arguments),
            )
            for notifier, arguments in channels
        ]
    }
