"""Credentials as obstore and Lance take them: of the usual AWS chain, refreshed as they expire."""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from clipfarm_tasks.config import Settings
from clipfarm_tasks.errors import ConfigError, TransientError

if TYPE_CHECKING:
    import boto3
    from botocore.credentials import Credentials as BotoCredentials
    from obstore.store import S3Credential

# botocore renews credentials that are about to expire, but only when it is asked: so it is asked often.
_ASKED_EVERY = timedelta(minutes=1)
_PRINTABLE = re.compile(r"[!-~]+")  # what a header may hold: of anything else obstore makes a panic
_THROTTLED = 429
_SERVER_ERROR = 500


class Credentials:
    """A provider of credentials for obstore: called whenever the last answer has expired.

    Attributes:
        expire: whether they are temporary, so that a long task has to ask again.
    """

    def __init__(self, credentials: "BotoCredentials", bucket: str) -> None:
        """``bucket`` is named in messages. Nothing is asked for yet, but a key pair that is at hand is checked.

        Raises:
            ConfigError: the key pair at hand cannot be one.
        """
        from botocore.credentials import RefreshableCredentials

        self._credentials = credentials
        self._bucket = bucket
        self.expire = isinstance(credentials, RefreshableCredentials)
        if not self.expire:
            self()

    def __call__(self) -> "S3Credential":
        """The credentials of this moment.

        Raises:
            ConfigError: they are refused, or what was given as one cannot be one.
            TransientError: they cannot be renewed now.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            current = self._credentials.get_frozen_credentials()
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            kind = TransientError if status == _THROTTLED or status >= _SERVER_ERROR else ConfigError
            raise kind(f"expected AWS credentials for s3://{self._bucket}, got: {error}") from error
        except BotoCoreError as error:
            raise TransientError(f"expected AWS credentials for s3://{self._bucket}, got: {error}") from error
        return {
            "access_key_id": self._clean("AWS_ACCESS_KEY_ID", current.access_key),
            "secret_access_key": self._clean("AWS_SECRET_ACCESS_KEY", current.secret_key),
            "token": self._clean("AWS_SESSION_TOKEN", current.token) if current.token else None,
            "expires_at": datetime.now(UTC) + _ASKED_EVERY,
        }

    def _clean(self, name: str, value: str | None) -> str:
        """The value without what an editor or ``echo`` left around it; the message never shows it."""
        stripped = (value or "").strip()
        if not _PRINTABLE.fullmatch(stripped):
            found = "a blank, a line end or a character outside of ASCII in it" if stripped else "nothing"
            raise ConfigError(
                f"expected printable ASCII characters as {name} for s3://{self._bucket}, got {found}, from "
                f"{getattr(self._credentials, 'method', 'the session')}"
            )
        return stripped


def credentials_of(settings: Settings, session: "boto3.Session") -> Credentials:
    """The credentials of ``session``.

    Raises:
        ConfigError: none can be found, or what is set is incomplete.
    """
    from botocore.exceptions import BotoCoreError

    try:
        credentials = session.get_credentials()
    except BotoCoreError as error:  # half a key pair
        raise ConfigError(f"expected AWS credentials for s3://{settings.bucket}, got: {error}") from error
    if credentials is None:
        raise ConfigError(
            f"expected AWS credentials for s3://{settings.bucket}, got none: set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, a profile, an instance role, or in Airflow the connection clipfarm_s3"
        )
    return Credentials(credentials, settings.bucket)
