"""All S3 traffic: one small surface over obstore, with one retry policy and errors that say what to do.

Throttling, timeouts, resets and server errors are retried with jittered exponential backoff, also when they strike in
the middle of a body; what outlasts ``Settings.retry_timeout_s`` is a `TransientError`. A wrong bucket or key pair is a
`ConfigError` at once. Only "the object does not exist" is ever reported as missing.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.store import S3Store
from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event, stop_after_delay, stop_any
from tenacity.stop import stop_when_event_set
from tenacity.wait import wait_random_exponential

from clipfarm_tasks.config import Settings
from clipfarm_tasks.errors import ConfigError, MissingObjectError, TransientError
from clipfarm_tasks.parallel import in_parallel
from clipfarm_tasks.storage_errors import S3_ERRORS, AlreadyThereError, named

if TYPE_CHECKING:
    import boto3
    from obstore import GetOptions
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import ClientConfig, S3Config

log = logging.getLogger(__name__)
_T = TypeVar("_T")
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_CREDENTIALS_ASKED_EVERY = timedelta(minutes=1)
_LONGEST_REQUEST = timedelta(hours=1)


@dataclass(frozen=True)
class ObjectInfo:
    """What a listing tells about an object; ``size`` in bytes."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True)
class Fetched:
    """An object's content and the ETag of exactly this content."""

    key: str
    body: bytes
    etag: str


def open_store(settings: Settings, session: "boto3.Session | None" = None) -> "Store":
    """Open the bucket with the credentials of ``session`` (default: the usual AWS chain), refreshed as they expire.

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
    return Store(settings, Boto3CredentialProvider(session, ttl=_CREDENTIALS_ASKED_EVERY))


class Store:
    """One bucket. Keys are relative to it; bodies are bytes."""

    def __init__(self, settings: Settings, credentials: "Boto3CredentialProvider") -> None:
        """Open ``settings.bucket``; ``credentials`` is an obstore credential provider. No request is made."""
        self.settings = settings
        self.bucket = settings.bucket
        self.retries = 0
        self._lock = threading.Lock()
        self._credentials = credentials
        client: "ClientConfig" = {
            # Silence is what ends a request: a total limit would make a large object impossible on a slow line.
            "read_timeout": timedelta(seconds=settings.request_timeout_s),
            "connect_timeout": timedelta(seconds=settings.request_timeout_s),
            "timeout": _LONGEST_REQUEST,
            "allow_http": (settings.endpoint_url or "").startswith("http://"),
        }
        config: "S3Config" = {"region": settings.region}
        if settings.endpoint_url is not None:
            config["endpoint"] = settings.endpoint_url
        self._s3 = S3Store(
            settings.bucket,
            config=config,
            client_options=client,
            # Retried here instead, where a fault in the middle of a body counts too and every retry is counted.
            retry_config={"max_retries": 0},
            credential_provider=credentials,
        )
        wait = wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=_LONGEST_PAUSE_S)
        # Whoever is told to stop must not wait until the threads have used up their retries.
        self._interrupted = threading.Event()
        stop = stop_any(stop_after_delay(settings.retry_timeout_s), stop_when_event_set(self._interrupted))
        when = retry_if_exception_type(TransientError)
        self._retrying = Retrying(
            wait=wait,
            stop=stop,
            retry=when,
            sleep=sleep_using_event(self._interrupted),
            before_sleep=self._count_retry,
            reraise=True,
        )

    def uri(self, key: str) -> str:
        """Full address of a key, for messages and for Lance."""
        return f"s3://{self.bucket}/{key}"

    def lance_options(self) -> dict[str, str]:
        """Storage options for Lance: the current credentials, endpoint, region and time limits."""
        current = self._credentials()
        options = {
            "aws_access_key_id": current["access_key_id"],
            "aws_secret_access_key": current["secret_access_key"],
            "aws_session_token": current.get("token"),
            "aws_region": self.settings.region,
            "aws_endpoint": self.settings.endpoint_url,
            "allow_http": str((self.settings.endpoint_url or "").startswith("http://")).lower(),
            "timeout": f"{self.settings.request_timeout_s:g}s",
            "client_retry_timeout": f"{max(1, round(self.settings.retry_timeout_s))}",
        }
        return {name: value for name, value in options.items() if value}

    def check_bucket(self) -> None:
        """Make one listing request.

        Raises:
            ConfigError: the bucket does not exist, or the credentials may not list it.
            TransientError: the server cannot be reached.
        """
        self.exists_under("clipfarm/")

    def exists_under(self, prefix: str) -> bool:
        """Whether there is an object under a prefix (which must end at a ``/``); one request."""
        return self._call(prefix, lambda: next(iter(obstore.list(self._s3, prefix, chunk_size=1)), None)) is not None

    def get(self, key: str, etag: str | None = None) -> bytes:
        """Read an object; with ``etag``, only that version of it.

        Raises:
            MissingObjectError: the object does not exist.
            ChangedObjectError: the object is not the version asked for.
        """
        options: "GetOptions" = {} if etag is None else {"if_match": etag}
        return self._call(key, lambda: bytes(obstore.get(self._s3, key, options=options).bytes()))

    def download(self, key: str, path: Path, etag: str) -> int:
        """Stream one version of an object into a local file; returns its bytes. A broken stream starts again.

        Raises:
            MissingObjectError: the object does not exist.
            ChangedObjectError: the object is not the version asked for.
        """
        # Opened out here: a folder that does not exist must not pass for an object that does not.
        with path.open("wb") as file:

            def stream() -> int:
                file.seek(0)
                file.truncate()
                return sum(file.write(chunk) for chunk in obstore.get(self._s3, key, options={"if_match": etag}))

            return self._call(key, stream)

    def get_many(self, keys: Iterable[str], concurrency: int | None = None) -> Iterator[tuple[str, Fetched | None]]:
        """Read objects, at most ``concurrency`` in flight, in order of arrival; None for one that does not exist."""
        yield from in_parallel(self._fetch, keys, concurrency or self.settings.concurrency, self._interrupted)

    def put(self, key: str, body: bytes) -> str:
        """Write an object, replacing what is there; returns its ETag."""
        return self._call(key, lambda: obstore.put(self._s3, key, body, use_multipart=False))["e_tag"] or ""

    def put_many(self, items: Iterable[tuple[str, bytes]], concurrency: int | None = None) -> int:
        """Write objects with at most ``concurrency`` in flight; returns how many."""
        limit = concurrency or self.settings.concurrency
        return sum(1 for _ in in_parallel(lambda item: self.put(*item), items, limit, self._interrupted))

    def create(self, key: str, body: bytes) -> bool:
        """Write an object only if it does not exist; True when the object now holds exactly ``body``.

        A create whose answer was lost is repeated, and then finds its own object: equal content therefore counts as
        created, and False always means that somebody else was first.
        """
        try:
            self._call(key, lambda: obstore.put(self._s3, key, body, mode="create"))
        except AlreadyThereError:
            return self.get(key) == body
        return True

    def head(self, key: str) -> ObjectInfo | None:
        """Size and ETag of an object, or None when it does not exist."""
        try:
            meta = self._call(key, lambda: obstore.head(self._s3, key))
        except ValueError as error:
            if _is_addressable(error):
                raise
            return None
        except MissingObjectError:
            self.check_bucket()  # the answer to a HEAD has no body that could say NoSuchBucket
            return None
        return ObjectInfo(key=key, size=meta["size"], etag=meta["e_tag"] or "")

    def list(self, prefix: str) -> list[ObjectInfo]:
        """Every object under a prefix (which must end at a ``/``), 1,000 to a request."""
        return self._call(
            prefix,
            lambda: [
                ObjectInfo(key=meta["path"], size=meta["size"], etag=meta["e_tag"] or "")
                for chunk in obstore.list(self._s3, prefix)
                for meta in chunk
            ],
        )

    def copy(self, source: str, target: str) -> None:
        """Copy an object within the bucket, on the server."""
        self._call(source, lambda: obstore.copy(self._s3, source, target))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, 1,000 to a request; one that does not exist is fine."""
        doomed = [*keys]
        if doomed:
            self._call(doomed[0], partial(obstore.delete, self._s3, doomed))

    def _call(self, key: str, request: Callable[[], _T]) -> _T:
        def once() -> _T:
            try:
                return request()
            except S3_ERRORS as error:
                raise named(error, self.uri(key), self.settings) from error

        # A copy for each call: tenacity keeps the state of a call in the object, and calls run side by side.
        return self._retrying.copy()(once)

    def _count_retry(self, state: RetryCallState) -> None:
        with self._lock:
            self.retries += 1
            first = self.retries == 1
        if first and state.outcome is not None:
            log.warning("retrying for up to %g s: %s", self.settings.retry_timeout_s, state.outcome.exception())

    def _fetch(self, key: str) -> tuple[str, Fetched | None]:
        def read() -> Fetched:
            result = obstore.get(self._s3, key)
            return Fetched(key=key, body=bytes(result.bytes()), etag=result.meta["e_tag"] or "")

        try:
            return key, self._call(key, read)
        except MissingObjectError:
            return key, None
        except ValueError as error:
            if _is_addressable(error):
                raise
            return key, None


def _is_addressable(error: ValueError) -> bool:
    """False for a key with an empty, "." or ".." segment: obstore cannot address it, and upstream does not write it."""
    return "Could not parse path" not in str(error)
