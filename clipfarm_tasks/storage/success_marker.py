"""``_SUCCESS``, the last file of a snapshot: which files belong to it, and whether they are still those."""

import hashlib
import json
from functools import partial

from pydantic import Field

from clipfarm_tasks import keys
from clipfarm_tasks.config import Frozen
from clipfarm_tasks.errors import DataError, MissingObjectError
from clipfarm_tasks.storage import Store
from clipfarm_tasks.storage.documents import parse_document, read_own


class FileEntry(Frozen):
    """One file of a snapshot."""

    size: int = Field(description="Bytes")
    sha256: str = Field(description="Digest, hex")

    @classmethod
    def of(cls, body: bytes) -> "FileEntry":
        """The entry of this content."""
        return cls(size=len(body), sha256=hashlib.sha256(body).hexdigest())

    def matches(self, body: bytes) -> bool:
        """Whether this is the content."""
        return self == FileEntry.of(body)


class Marker(Frozen):
    """Content of ``_SUCCESS`` and of the commit record."""

    digest: str = Field(description="Config digest of the run, sha256 hex")
    attempt: str = Field(description="Attempt whose files these are")
    files: dict[str, FileEntry] = Field(description="Every file by its path in the folder")

    def body(self) -> bytes:
        """Canonical JSON."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1).encode()

    @property
    def sha256(self) -> str:
        """Digest of the marker itself, hex."""
        return hashlib.sha256(self.body()).hexdigest()


def read_marker(store: Store, prefix: str, digest: str) -> Marker | None:
    """The marker of a finished snapshot, or None while there is none.

    Raises:
        DataError: the snapshot was made by a run of another config digest.
    """
    return read_record(store, f"{prefix}{keys.SUCCESS}", digest)


def read_record(store: Store, key: str, digest: str) -> Marker | None:
    """A ``_SUCCESS`` or a commit record, or None while there is none.

    Raises:
        DataError: it was made by a run of another config digest.
    """
    try:
        marker = read_own(store, key, partial(parse_document, Marker))
    except MissingObjectError:
        return None
    if marker.digest != digest:
        raise DataError(
            f"expected config digest {digest}, got {marker.digest}, in {store.uri(key)}: "
            "a finished snapshot is never overwritten; use another run id"
        )
    return marker


def read_file(store: Store, prefix: str, marker: Marker, name: str) -> bytes:
    """A file of a finished snapshot, exactly as its marker names it.

    Raises:
        DataError: the marker does not name it, or it is lost or altered.
    """
    entry = marker.files.get(name)

    def check(body: bytes, where: str) -> bytes:
        if entry is None or not entry.matches(body):
            raise DataError(f"expected the file its _SUCCESS names, got another, in {where}")
        return body

    return read_own(store, f"{prefix}{name}", check)


def damaged_files(store: Store, prefix: str, marker: Marker) -> list[str]:
    """Names of the files that the marker names and that are lost or altered; every other one is read whole."""
    there = {info.key.removeprefix(prefix): info for info in store.list(prefix)}
    same_size = [
        there[name] for name, entry in marker.files.items() if name in there and there[name].size == entry.size
    ]
    good = {
        name
        for info, fetched in store.get_listed(same_size)
        if fetched is not None and marker.files[name := info.key.removeprefix(prefix)].matches(fetched.body)
    }
    return sorted(marker.files.keys() - good)
