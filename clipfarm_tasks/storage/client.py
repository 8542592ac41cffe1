"""How a bucket is reached: by the AWS chain where the settings are silent, with time limits; and the same for Lance."""

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from clipfarm_tasks.config import Settings
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.storage.credentials import Credentials
from clipfarm_tasks.storage.environment import forget_hidden_settings, never_proxy_loopback, trust

if TYPE_CHECKING:
    import boto3
    from obstore.store import S3Store

_LONGEST_REQUEST = timedelta(hours=1)


def located(settings: Settings, session: "boto3.Session") -> Settings:
    """The settings, with endpoint and region of the AWS chain where they name none; the process is made ready for both.

    From here on the process's environment holds nothing that would make obstore or Lance go elsewhere.

    Raises:
        ConfigError: the profile does not exist, or what it says is malformed.
    """
    from botocore.configprovider import ConfiguredEndpointProvider
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        profile = session.profile_name
        chain = Session(profile=None if profile == "default" else profile)
        config, scoped = chain.full_config, chain.get_scoped_config()
        bundle = chain.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        found = {"region": session.region_name}
        if not chain.get_config_variable("ignore_configured_endpoint_urls"):
            found["endpoint_url"] = ConfiguredEndpointProvider(config, scoped, "s3").provide()
    except BotoCoreError as error:
        raise ConfigError(f"expected an AWS configuration for s3://{settings.bucket}, got: {error}") from error
    settings = settings.where_silent(found)
    forget_hidden_settings()
    never_proxy_loopback(settings.endpoint_url)
    if bundle and not _is_http(settings):
        trust(bundle)
    return settings


def client_of(settings: Settings, credentials: Credentials) -> "S3Store":
    """The client of ``settings.bucket``, which makes every request once. No request is made here."""
    from obstore.store import S3Store

    return S3Store(
        settings.bucket,
        config={
            "region": settings.region,
            "endpoint": _endpoint(settings),
            "aws_endpoint_url_s3": _endpoint(settings),  # the variable of this name would beat ``endpoint``
        },
        client_options={
            # Silence is what ends a request: a total limit would make a large object impossible on a slow line.
            "read_timeout": timedelta(seconds=settings.request_timeout_s),
            "connect_timeout": timedelta(seconds=settings.request_timeout_s),
            "timeout": _LONGEST_REQUEST,
            "allow_http": _is_http(settings),
        },
        # Retried by `Retries` instead, where a fault in the middle of a body counts too and every retry is counted.
        retry_config={"max_retries": 0},
        credential_provider=credentials,
    )


def lance_access(settings: Settings, credentials: Credentials, uri: str) -> dict[str, Any]:
    """Arguments with which Lance opens the table ``uri``: endpoint, region, time limits, credentials.

    Credentials that expire are asked for again in the middle of a call. That is what a namespace is for, whose import
    takes longer than opening a table, so a key pair goes without.
    """
    if not credentials.expire:
        return {"uri": uri, "storage_options": lance_options(settings, credentials)}
    from clipfarm_tasks.storage.lance_namespace import OneTable

    return {"namespace_client": OneTable(uri, lambda: lance_options(settings, credentials)), "table_id": [uri]}


def lance_options(settings: Settings, credentials: Credentials) -> dict[str, str]:
    """Storage options for Lance: endpoint, region, time limits and the credentials of this moment."""
    endpoint = _endpoint(settings)
    current = credentials()
    options = {
        "aws_access_key_id": current["access_key_id"],
        "aws_secret_access_key": current["secret_access_key"],
        "aws_session_token": current.get("token"),
        "aws_region": settings.region,
        "aws_endpoint": endpoint,
        "aws_endpoint_url_s3": endpoint,
        "allow_http": str(_is_http(settings)).lower(),
        "timeout": f"{settings.request_timeout_s:g}s",
        "client_retry_timeout": f"{max(1, round(settings.retry_timeout_s))}",
    }
    return {name: value for name, value in options.items() if value}


def _endpoint(settings: Settings) -> str:
    return settings.endpoint_url or f"https://s3.{settings.region}.amazonaws.com"


def _is_http(settings: Settings) -> bool:
    return (settings.endpoint_url or "").startswith("http://")
