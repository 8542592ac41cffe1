"""Who is told when a run fails or is late, and how old the newest complete run may be: read from the environment.

Part of what DAG files read at parse time: it knows no Airflow. Credentials are in the connections that are named here.
"""

import os
import re
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from clipfarm_tasks.config import Frozen
from clipfarm_tasks.errors import ConfigError

_CONNECTION = r"^[A-Za-z0-9_.-]{1,200}$"
_ADDRESS = r"^[^@\s,<>]+@[^@\s,<>]+$"
_VARIABLES = {
    "slack_connection": "CLIPFARM_ALERT_SLACK_CONNECTION",
    "email": "CLIPFARM_ALERT_EMAIL",
    "smtp_connection": "CLIPFARM_ALERT_SMTP_CONNECTION",
    "late_after_min": "CLIPFARM_ALERT_LATE_AFTER_MIN",
    "stale_after_hours": "CLIPFARM_STALE_AFTER_HOURS",
}
_CHANNELS = frozenset({"slack_connection", "email"})


class AlertSettings(Frozen):
    """Where alerts go, by default nowhere, and when a run is late or the newest complete one is stale."""

    slack_connection: str | None = Field(
        default=None, pattern=_CONNECTION, description="Airflow connection of type slackwebhook"
    )
    email: tuple[str, ...] = Field(default=(), description="Recipients, comma-separated in the environment")
    smtp_connection: str | None = Field(
        default=None,
        pattern=_CONNECTION,
        validate_default=True,
        description="Airflow connection of type smtp, with from_email in its extra; wanted with recipients",
    )
    late_after_min: int | None = Field(
        default=None, ge=1, description="Minutes after it was queued when a run is late; none: never"
    )
    stale_after_hours: float = Field(
        default=36.0,
        gt=0,
        allow_inf_nan=False,
        description="Hours after which the newest complete run is stale: a nightly run, and half a day to mend it",
    )

    @field_validator("email", mode="before")
    @classmethod
    def _addresses(cls, value: Any) -> Any:
        """Accept the comma-separated text of the environment."""
        if not isinstance(value, str):
            return value
        return tuple(address.strip() for address in value.split(",") if address.strip())

    @field_validator("email")
    @classmethod
    def _name_at_host(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [address for address in addresses if not re.match(_ADDRESS, address)]:
            raise ValueError(f"expected addresses as name@host, got {', '.join(map(repr, wrong))}")
        return addresses

    # Checked with the fields, not after them: a rule over the whole model would stay silent beside any other problem.
    @field_validator("smtp_connection")
    @classmethod
    def _with_recipients(cls, connection: str | None, info: ValidationInfo) -> str | None:
        if "email" in info.data and bool(info.data["email"]) != bool(connection):
            raise ValueError(
                f"expected {_VARIABLES['email']} and {_VARIABLES['smtp_connection']} together, got only one of them"
            )
        return connection

    @field_validator("late_after_min")
    @classmethod
    def _with_a_channel(cls, minutes: int | None, info: ValidationInfo) -> int | None:
        if minutes is not None and info.data.keys() >= _CHANNELS and not any(info.data[name] for name in _CHANNELS):
            raise ValueError(
                f"expected {_VARIABLES['slack_connection']} or {_VARIABLES['email']} too, got neither: nobody is told"
            )
        return minutes

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the settings; an empty variable is as good as none.

        Raises:
            ConfigError: a variable is malformed or wants another one; one message that lists every problem.
        """
        env = os.environ if environ is None else environ
        try:
            return cls.model_validate({field: env[name] for field, name in _VARIABLES.items() if env.get(name)})
        except ValidationError as error:
            raise ConfigError("alerts: " + "; ".join(map(_problem, error.errors()))) from error


def _problem(item: Any) -> str:
    field = str(item["loc"][0])
    message = item["msg"].removeprefix("Value error, ")
    if field.endswith("_connection") and item["type"] == "string_pattern_mismatch":
        # What stands there instead of an id may be a webhook address, which is a password: it is not repeated.
        return f"{_VARIABLES[field]}: expected the id of an Airflow connection, got something else"
    return f"{_VARIABLES[field]}: {message}" + ("" if item["type"] == "value_error" else f", got {item['input']!r}")
