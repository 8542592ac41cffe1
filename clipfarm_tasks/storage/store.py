"""All S3 traffic: one small surface over obstore, with one retry policy and errors that say what to do.

Throttling, timeouts, resets and server errors are retried with jittered exponential backoff, also when they strike in
the middle of a body; what outlasts ``Settings.retry_timeout_s`` is a `TransientError`. A wrong bucket or key pair is a
`ConfigError` at once. Only "the object does not exist" is ever reported as missing.

A body whose end is missing cannot be told by its own Content-Length when that is wrong too: whoever knows the size from
a listing, a HEAD or a record gives it (`Store.get_listed`, ``size``), and a body of another length is not believed.

Every ETag that leaves here is in its `canonical` form. A key that nothing can address is left out of every listing.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import obstore

from clipfarm_tasks.config import Settings
from clipfarm_tasks.errors import ChangedObjectError, ConfigError, MissingObjectError, TransientError
from clipfarm_tasks.storage.addresses import is_addressable
from clipfarm_tasks.storage.client import client_of, lance_access, lance_options, located
from clipfarm_tasks.storage.credentials import Credentials, credentials_of
from clipfarm_tasks.storage.environment import forget_session_token
from clipfarm_tasks.storage.errors import NOT_FOUND, S3_ERRORS, AlreadyThereError, changed, named, no_such_bucket
from clipfarm_tasks.storage.etags import canonical
from clipfarm_tasks.storage.one_heap import one_heap
from clipfarm_tasks.storage.parallel import in_parallel
from clipfarm_tasks.storage.retries import Retries
from clipfarm_tasks.storage.temporary_disk import room_on_disk

if TYPE_CHECKING:
    import boto3
    import pyarrow as pa
    from obstore import GetResult

log = logging.getLogger(__name__)
_T = TypeVar("_T")
_PART = 16 * 1024 * 1024  # bytes of an upload's part; a file of at most one is uploaded in one request
_MOST_PARTS = 10_000  # S3's limit
_PARTS_IN_FLIGHT = 4
_COPIED_AT_ONCE = 5 * 1024**3  # S3's limit of CopyObject, in bytes
_OBJECT_OVERHEAD = 1024  # bytes a body costs beside its own, so that many empty ones are bounded too


@dataclass(frozen=True, slots=True)
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

    What the settings do not set, endpoint and region, is looked up in the AWS chain as well.

    Raises:
        ConfigError: no credentials can be found, or what is set is incomplete.
    """
    one_heap()  # here, because a store is opened before its threads, and Lance's, are started
    import boto3  # here, not above: half a second that a command which fails on its arguments need not pay
    from botocore.exceptions import BotoCoreError

    try:
        session = session or boto3.Session()
    except BotoCoreError as error:  # a profile that does not exist
        raise ConfigError(f"expected AWS credentials for s3://{settings.bucket}, got: {error}") from error
    settings = located(settings, session)
    credentials = credentials_of(settings, session)
    if not credentials.expire and not credentials()["token"]:
        forget_session_token()
    return Store(settings, credentials)


class Store:
    """One bucket. Keys are relative to it; bodies are bytes."""

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        """Open ``settings.bucket``. No request is made."""
        self.settings = settings
        self.bucket = settings.bucket
        self._retries = Retries(settings.retry_timeout_s, settings.request_timeout_s)
        self._credentials = credentials
        self._s3 = client_of(settings, credentials)

    @property
    def retries(self) -> int:
        """Requests made again so far."""
        return self._retries.count

    def uri(self, key: str) -> str:
        """Full address of a key, for messages and for Lance."""
        return f"s3://{self.bucket}/{key}"

    def lance_access(self, uri: str) -> dict[str, Any]:
        """Arguments with which Lance opens a table of this bucket; see `client.lance_access`."""
        return lance_access(self.settings, self._credentials, uri)

    def lance_options(self) -> dict[str, str]:
        """Storage options for a write of Lance: endpoint, region, time limits and the credentials of this moment."""
        return lance_options(self.settings, self._credentials)

    def check_bucket(self) -> None:
        """Make one listing request.

        Raises:
            ConfigError: the bucket does not exist, or the credentials may not list it.
            TransientError: the server cannot be reached.
        """
        self.exists_under("clipfarm/")

    def exists_under(self, prefix: str) -> bool:
        """Whether there is an object under a prefix (which must end at a ``/``); one request."""
        return self._call(prefix, lambda: any(page.num_rows for page in self._pages(prefix)))

    def get(self, key: str, etag: str | None = None, size: int | None = None) -> bytes:
        """Read an object; with ``etag``, only that version of it; with its ``size`` in bytes, no other length.

        Raises:
            MissingObjectError: the object does not exist.
            ChangedObjectError: the object is not the version asked for.
        """

        def read() -> bytes:
            body = bytes(self._version(key, etag).bytes())
            self._require_length(key, len(body), size)
            return body

        return self._call(key, read)

    def download(self, key: str, path: Path, etag: str | None = None, size: int | None = None) -> int:
        """Stream an object into a file of the temporary folder; returns its bytes. A broken stream starts again.

        ``etag`` and ``size`` (bytes) as in `get`.

        Raises:
            MissingObjectError: the object does not exist.
            ChangedObjectError: the object is not the version asked for.
            ConfigError: the temporary folder has no room.
        """
        # Opened out here: a folder that does not exist must not pass for an object that does not.
        with room_on_disk(self.uri(key), size), path.open("wb") as file:

            def stream() -> int:
                file.seek(0)
                file.truncate()
                length = 0
                for chunk in self._version(key, etag):
                    length += file.write(chunk)
                    self._retries.progress()
                self._require_length(key, length, size)
                return length

            return self._call(key, stream)

    def get_many(self, keys: Iterable[str], concurrency: int | None = None) -> Iterator[tuple[str, Fetched | None]]:
        """Read objects, at most ``concurrency`` in flight, in order of arrival; None for one that does not exist."""
        yield from in_parallel(self._fetch, keys, concurrency or self.settings.concurrency, self._retries.interrupted)

    def get_listed(
        self, objects: Iterable[ObjectInfo], concurrency: int | None = None
    ) -> Iterator[tuple[ObjectInfo, Fetched | None]]:
        """Read objects of which a listing told size and ETag, in order of arrival; None for one that is gone.

        At most ``concurrency`` are in flight, and at most ``Settings.in_flight_mib`` MiB in flight or not consumed; one
        larger object passes alone. A body counts only if its length is the size known for the ETag it came with: that
        of the listing, or after an overwrite that of a HEAD. A 404 counts only if a HEAD finds nothing either.

        Raises:
            TransientError: an object's body or its 404 did not become believable within the time for retries.
        """
        yield from in_parallel(
            self._fetch_listed,
            objects,
            concurrency or self.settings.concurrency,
            self._retries.interrupted,
            weigh=lambda listed: listed.size + _OBJECT_OVERHEAD,
            cap=self.settings.in_flight_mib * 1024 * 1024,
        )

    def put(self, key: str, body: bytes) -> str:
        """Write an object, replacing what is there; returns its ETag."""
        return canonical(self._call(key, lambda: obstore.put(self._s3, key, body, use_multipart=False))["e_tag"])

    def put_many(self, items: Iterable[tuple[str, bytes]], concurrency: int | None = None) -> int:
        """Write objects with at most ``concurrency`` in flight; returns how many."""
        limit = concurrency or self.settings.concurrency
        return sum(1 for _ in in_parallel(lambda item: self.put(*item), items, limit, self._retries.interrupted))

    def upload(self, key: str, path: Path) -> str:
        """Write a local file, replacing what is there, without holding it in memory; returns its sha256, hex.

        A file larger than a part goes up in several, and becomes visible as a whole or not at all. Parts of an upload
        that failed stay hidden in the bucket until its lifecycle rule for incomplete uploads removes them.
        """
        # Read once before: a file that does not exist must not pass for an object that does not.
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            part = max(_PART, file.tell() // _MOST_PARTS + 1)
        self._call(key, lambda: obstore.put(self._s3, key, path, chunk_size=part, max_concurrency=_PARTS_IN_FLIGHT))
        return digest

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

    def swap(self, key: str, body: bytes, etag: str) -> bool:
        """Replace an object only if it is the version of this ETag; True when it now holds exactly ``body``.

        As with `create`, equal content counts as written, so that an answer that was lost is none that was refused.
        """
        try:
            self._call(key, lambda: obstore.put(self._s3, key, body, mode={"e_tag": etag}, use_multipart=False))
        except (ChangedObjectError, MissingObjectError):
            current = self._unless_missing(key, lambda: self._read(key))
            return current is not None and current.body == body
        return True

    def head(self, key: str) -> ObjectInfo | None:
        """Size and ETag of an object, or None when it does not exist."""
        return self.head_many([key])[key]

    def head_many(self, keys: Iterable[str], concurrency: int | None = None) -> dict[str, ObjectInfo | None]:
        """Size and ETag of objects by key, or None for one that does not exist; at most ``concurrency`` in flight."""
        limit = concurrency or self.settings.concurrency
        found = dict(in_parallel(self._ask, keys, limit, self._retries.interrupted))
        if None in found.values():
            self.check_bucket()  # the answer to a HEAD has no body that could say NoSuchBucket
        return found

    def list(self, prefix: str) -> list[ObjectInfo]:
        """Every object under a prefix (which must end at a ``/``), 1,000 to a request."""
        columns = (batch.to_pydict().values() for batch in self._batches(prefix))
        return [ObjectInfo(*row) for column in columns for row in zip(*column, strict=True)]

    def list_many(self, prefixes: Iterable[str]) -> "Iterator[pa.RecordBatch]":
        """Every object under any of the prefixes: ``key``, ``size`` in bytes and ``etag``, a page to a batch.

        They are listed side by side, because a listing waits for one page after the other.
        """
        for batches in in_parallel(self._batches, prefixes, self.settings.concurrency, self._retries.interrupted):
            yield from batches

    def copy(self, source: str, target: str, size: int = 0) -> None:
        """Copy an object within the bucket: on the server, or through this machine if ``size`` (bytes) is beyond 5 GiB.

        Raises:
            MissingObjectError: there is no such object.
        """

        def copy() -> None:
            if size <= _COPIED_AT_ONCE:
                obstore.copy(self._s3, source, target)
            else:
                obstore.put(self._s3, target, iter(obstore.get(self._s3, source)))

        self._call(source, copy)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, 1,000 to a request; one that does not exist is fine.

        A key that nothing can address is left out and counted in a warning, as in a listing.
        """
        wanted = [*keys]
        doomed = [key for key in wanted if is_addressable(key)]
        if len(doomed) < len(wanted):
            log.warning("%d objects not deleted whose keys nothing can address", len(wanted) - len(doomed))
        if doomed:
            self._call(doomed[0], partial(obstore.delete, self._s3, doomed))

    def _batches(self, prefix: str) -> "Sequence[pa.RecordBatch]":
        def read() -> "Iterator[pa.RecordBatch]":
            for page in self._pages(prefix):
                self._retries.progress()
                yield page

        return self._call(prefix, lambda: [*read()])

    def _pages(self, prefix: str) -> "Iterator[pa.RecordBatch]":
        from clipfarm_tasks.storage.listing import listed  # here, not above: it costs the import of Arrow

        return listed(self._s3, self.settings, self._credentials, prefix)

    def _version(self, key: str, etag: str | None) -> "GetResult":
        """An object that was found; with ``etag``, only if it is the current one.

        The answer's own ETag is compared, by its value, instead of sent as If-Match: the server may write it in another
        way than its listing.
        """
        result = obstore.get(self._s3, key)
        if etag is not None and canonical(result.meta["e_tag"]) != canonical(etag):
            raise changed(self.uri(key))
        return result

    def _call(self, key: str, request: Callable[[], _T]) -> _T:
        def attempt() -> _T:
            try:
                return request()
            except S3_ERRORS as error:
                raise named(error, self.uri(key), self.settings) from error

        return self._retries.call(attempt)

    def _unless_missing(self, key: str, request: Callable[[], _T]) -> _T | None:
        try:
            return self._call(key, request)
        except MissingObjectError:
            return None
        except ValueError as error:
            if "Could not parse path" not in str(error):
                raise
            return None  # a key with an empty, "." or ".." segment cannot be addressed, and upstream does not write it

    def _fetch(self, key: str) -> tuple[str, Fetched | None]:
        return key, self._unless_missing(key, lambda: self._read(key))

    def _fetch_listed(self, listed: ObjectInfo) -> tuple[ObjectInfo, Fetched | None]:
        return listed, self._unless_missing(listed.key, lambda: self._read_listed(listed))

    def _ask(self, key: str) -> tuple[str, ObjectInfo | None]:
        return key, self._unless_missing(key, lambda: self._look(key))

    def _read(self, key: str) -> Fetched:
        result = obstore.get(self._s3, key)
        return Fetched(key=key, body=bytes(result.bytes()), etag=canonical(result.meta["e_tag"]))

    def _look(self, key: str) -> ObjectInfo:
        meta = obstore.head(self._s3, key)
        return ObjectInfo(key=key, size=meta["size"], etag=canonical(meta["e_tag"]))

    def _read_listed(self, listed: ObjectInfo) -> Fetched:
        """One try of `get_listed`; what is not believed is a `TransientError`."""
        try:
            fetched = self._read(listed.key)
        except NOT_FOUND as error:
            if no_such_bucket(error):
                raise
            self._look(listed.key)  # raises the same if it is true
            raise TransientError(f"expected {self.uri(listed.key)}, which HEAD finds, got 404 to GET") from error
        known = listed if fetched.etag == canonical(listed.etag) else self._look(listed.key)
        if fetched.etag != known.etag:
            raise TransientError(
                f"expected ETag {known.etag} as HEAD says, got {fetched.etag} with the body, in {self.uri(listed.key)}"
            )
        self._require_length(listed.key, len(fetched.body), known.size)
        return fetched

    def _require_length(self, key: str, length: int, size: int | None) -> None:
        if size is not None and length != size:
            raise TransientError(f"expected {size} bytes, got {length}, in {self.uri(key)}")
