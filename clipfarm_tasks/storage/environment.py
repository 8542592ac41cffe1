"""What obstore and Lance read from the process's environment by themselves, whatever they are told."""

import atexit
import ipaddress
import logging
import os
import shutil
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from obstore.exceptions import BaseError, UnknownConfigurationKeyError
from obstore.store import S3Store

from clipfarm_tasks.errors import ConfigError

if TYPE_CHECKING:
    from obstore.store import S3Config

log = logging.getLogger(__name__)
# Both libraries would take these too, but they belong to the chain of every AWS tool: they stay for boto3, and what it
# makes of them is passed on by value.
_AWS_CHAIN = frozenset({
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_STS",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
})  # fmt: skip
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_roots: dict[str, Path] = {}


def forget_hidden_settings() -> None:
    """Take the variables that only these two libraries know out of the process's environment.

    obstore takes every ``AWS_`` variable that is called like one of its settings (``AWS_S3_EXPRESS``,
    ``AWS_CONDITIONAL_PUT``), and Lance does so without the prefix too (``TIMEOUT``). No AWS tool knows them, and some,
    like a checksum, have no value that would stand for "not set", so that passing all of them on cannot help.
    """
    hidden = sorted(name for name in os.environ if name not in _AWS_CHAIN and _is_setting(name.lower()))
    for name in hidden:
        del os.environ[name]
    if hidden:
        log.warning("ignored %s: no AWS tool reads them, only the S3 libraries would", ", ".join(hidden))


def forget_session_token() -> None:
    """Take the session token of another key pair out of the process's environment.

    Lance adds it to a key pair that has none; an empty one instead would be sent and signed, which AWS refuses.
    """
    if os.environ.pop("AWS_SESSION_TOKEN", ""):
        log.warning("ignored AWS_SESSION_TOKEN: it belongs to another key pair than the one in use, which has none")


def never_proxy_loopback(endpoint_url: str | None = None) -> None:
    """Let no proxy that the environment names stand before this machine's own servers, in child processes neither."""
    if not any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES):
        return
    host = urlsplit(endpoint_url or "").hostname
    own = dict.fromkeys([*_LOOPBACK, *([host] if host and _is_loopback(host) else [])])
    before = [*os.environ.get("no_proxy", "").split(","), *os.environ.get("NO_PROXY", "").split(",")]
    excluded = ",".join(dict.fromkeys(filter(None, [*map(str.strip, before), *own])))
    os.environ |= {"no_proxy": excluded, "NO_PROXY": excluded}  # some clients read only one of them


def trust(bundle: str) -> None:
    """Trust the CA certificates of a file, beside those that are trusted already.

    Lance has no option for them: like obstore it trusts what ``SSL_CERT_FILE`` names. That file serves everything else
    in the process too, so the bundle is added to it.

    Raises:
        ConfigError: it is not a readable file of certificates.
    """
    rule = "expected a file of CA certificates in PEM format (AWS_CA_BUNDLE, or ca_bundle of the profile)"
    try:
        added = Path(bundle).read_text("latin-1")
    except OSError as error:
        raise ConfigError(f"{rule}, got {error.strerror}, in {bundle}") from error
    if "BEGIN CERTIFICATE" not in added:
        raise ConfigError(f"{rule}, got a file without a certificate, in {bundle}")
    current = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    known = Path(current).read_text("latin-1") if current and Path(current).is_file() else ""
    if added in known:
        return
    if bundle not in _roots or not _roots[bundle].is_file():
        folder = Path(tempfile.mkdtemp(prefix="clipfarm-ca-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        _roots[bundle] = folder / "roots.pem"
    _roots[bundle].write_text(f"{known}\n{added}", "latin-1")
    os.environ["SSL_CERT_FILE"] = str(_roots[bundle])


def _is_setting(name: str) -> bool:
    try:
        S3Store("none", config=cast("S3Config", {name: ""}))
    except UnknownConfigurationKeyError:
        return False
    except BaseError:  # the name is known, the empty value is refused
        return True
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
