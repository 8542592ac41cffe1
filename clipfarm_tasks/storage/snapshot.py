"""Publish a folder of files as one immutable snapshot: all of it or nothing, once, whatever fails and whoever races.

1. An attempt uploads its files under a staging prefix of its own.
2. One conditional put of the commit record decides whose files become the snapshot.
3. Anybody (the winner, a loser, a later retry) copies the winner's files to their final names and then creates
   ``_SUCCESS``. All copy the same bytes, so doing it twice changes nothing, and a crash at any point is continued.
"""

import logging
import uuid
from pathlib import Path

from clipfarm_tasks import keys
from clipfarm_tasks.errors import DataError, MissingObjectError
from clipfarm_tasks.storage import Store
from clipfarm_tasks.storage.success_marker import FileEntry, Marker, damaged_files, read_marker, read_record

log = logging.getLogger(__name__)


def finish(store: Store, run_id: str, prefix: str, digest: str) -> Marker | None:
    """The marker, after completing a snapshot that was committed but not finished; None when nothing was committed."""
    marker = read_marker(store, prefix, digest)
    if marker is not None:
        _clean(store, run_id, prefix)  # whoever finished it may have been killed before this
        return marker
    committed = read_record(store, keys.commit(prefix, run_id), digest)
    if committed is None:
        return None
    log.info("snapshot %s: finishing attempt %s", store.uri(prefix), committed.attempt)
    return _roll_forward(store, run_id, prefix, committed)


def publish(store: Store, run_id: str, prefix: str, digest: str, folder: Path) -> Marker:
    """Make ``folder`` the snapshot at ``prefix``, unless one is finished or committed: then that one stands.

    Raises:
        DataError: a snapshot of another config digest stands there.
    """
    standing = finish(store, run_id, prefix, digest)
    if standing is not None:
        return standing
    attempt = uuid.uuid4().hex
    staged = keys.staging(prefix, run_id, attempt)
    bodies = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
    files = {name: FileEntry.of(body) for name, body in bodies.items()}
    store.put_many((f"{staged}{name}", body) for name, body in bodies.items())
    marker = Marker(digest=digest, attempt=attempt, files=files)
    key = keys.commit(prefix, run_id)
    if not store.create(key, marker.body()):
        marker = read_record(store, key, digest) or marker
    return _roll_forward(store, run_id, prefix, marker)


def _roll_forward(store: Store, run_id: str, prefix: str, marker: Marker) -> Marker:
    staged = keys.staging(prefix, run_id, marker.attempt)
    for name in marker.files:
        try:
            store.copy(f"{staged}{name}", f"{prefix}{name}")
        except MissingObjectError as error:
            # Staged files go only after the marker is there: somebody else finished meanwhile, or the marker was lost.
            if read_marker(store, prefix, marker.digest) is not None or not damaged_files(store, prefix, marker):
                break
            raise DataError(
                f"expected the staged files of attempt {marker.attempt}, got none at {store.uri(staged + name)}: they "
                f"were removed by hand; delete {store.uri(keys.commit(prefix, run_id))} and retry"
            ) from error
    store.create(f"{prefix}{keys.SUCCESS}", marker.body())
    _clean(store, run_id, prefix)
    return marker


def _clean(store: Store, run_id: str, prefix: str) -> None:
    """Remove what every attempt staged, a late loser's too. Only once the marker is there."""
    store.delete([info.key for info in store.list(keys.staging_area(prefix, run_id))])
