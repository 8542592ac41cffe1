"""How a bucket is reached: credentials, time limits, and the same for Lance."""

from datetime import timedelta
from typing import TYPE_CHECKING

from clipfarm_tasks.config import Settings
from clipfarm_tasks.errors import ConfigError

if TYPE_CHECKING:
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import ClientConfig, S3Config, S3Store

_CREDENTIALS_ASKED_EVERY = timedelta(minutes=1)
_LONGEST_REQUEST = timedelta(hours=1)


def credentials_of(settings: Settings, session: "boto3.Session | None") -> "Boto3CredentialProvider":
    """The credentials of ``session`` (default: the usual AWS chain), refreshed as they expire.

    Raises:
        ConfigError: no credentials can be found, or what is set is incomplete.
    """
    import boto3  # here, not above: half a second that a command which fails on its arguments need not pay
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        session = session or boto3.Session()
        credentials = session.get_credentials()
    except BotoCoreError as error:  # half a key pair, a profile that does not exist
        raise ConfigError(f"expected AWS credentials for s3://{settings.bucket}, got: {error}") from error
    if credentials is None:
        raise ConfigError(
            f"expected AWS credentials for s3://{settings.bucket}, got none: set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, a profile, an instance role, or in Airflow the connection clipfarm_s3"
        )
    # botocore renews credentials that are about to expire, but only when it is asked: so it is asked often.
    return Boto3CredentialProvider(session, ttl=_CREDENTIALS_ASKED_EVERY)


def client_of(settings: Settings, credentials: "Boto3CredentialProvider") -> "S3Store":
    """The client of ``settings.bucket``, which makes every request once. No request is made here."""
    from obstore.store import S3Store

    client: "ClientConfig" = {
        # Silence is what ends a request: a total limit would make a large object impossible on a slow line.
        "read_timeout": timedelta(seconds=settings.request_timeout_s),
        "connect_timeout": timedelta(seconds=settings.request_timeout_s),
        "timeout": _LONGEST_REQUEST,
        "allow_http": _is_http(settings),
    }
    config: "S3Config" = {"region": settings.region}
    if settings.endpoint_url is not None:
        config["endpoint"] = settings.endpoint_url
    return S3Store(
        settings.bucket,
        config=config,
        client_options=client,
        # Retried by `Retries` instead, where a fault in the middle of a body counts too and every retry is counted.
        retry_config={"max_retries": 0},
        credential_provider=credentials,
    )


def lance_options(settings: Settings, credentials: "Boto3CredentialProvider") -> dict[str, str]:
    """Storage options for Lance: the current credentials, endpoint, region and time limits."""
    current = credentials()
    options = {
        "aws_access_key_id": current["access_key_id"],
        "aws_secret_access_key": current["secret_access_key"],
        "aws_session_token": current.get("token"),
        "aws_region": settings.region,
        "aws_endpoint": settings.endpoint_url,
        "allow_http": str(_is_http(settings)).lower(),
        "timeout": f"{settings.request_timeout_s:g}s",
        "client_retry_timeout": f"{max(1, round(settings.retry_timeout_s))}",
    }
    return {name: value for name, value in options.items() if value}


def _is_http(settings: Settings) -> bool:
    return (settings.endpoint_url or "").startswith("http://")
