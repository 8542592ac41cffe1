"""Versioned vector tables in the bucket (Lance): read what a version holds, merge what is new.

A commit is atomic: a reader sees the version before or after it. Two writers at once are settled by optimistic commits,
which are repeated on conflict. Rows are keyed by ``video_id``: the key is declared in the schema, because Lance settles
two inserts of the same new row only then, and otherwise keeps both.

A table has an id of its own: versions count from 1 again in a table that was lost and made anew, and version 3 of that
one is not version 3 of the other.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol, TypeVar

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clipfarm_tasks.errors import DataError, TransientError
from clipfarm_tasks.storage import Store
from clipfarm_tasks.storage.errors import refusal, said
from clipfarm_tasks.storage.retries import Retries
from clipfarm_tasks.vectors.reads import F32, Allocate, in_memory, read_vectors

KEY = "video_id"
_CONFLICT_RETRIES = 20
_MERGED_AT_ONCE_BYTES = 64 * 2**20
_DROPPED_AT_ONCE = 10_000
_ID = b"clipfarm_table_id"  # in the metadata of the schema, which every later commit carries on
_PRIMARY_KEY = {"lance-schema:unenforced-primary-key": "true"}
# Texts of Lance 14: of two that create, the loser looks for the version before the first.
_CONFLICTS = ("already exists", "ommit conflict", "Incompatible transaction", "WriteContention", "_versions/0.manifest")
# A file whose end did not arrive: of a deletion file Lance looks at the content alone, and finds no footer.
_CUT_SHORT = ("LanceError(IO)", "LanceError(Arrow): Parser error")
_T = TypeVar("_T")


def vectors(matrix: NDArray[np.float32]) -> pa.FixedSizeListArray:
    """An Arrow column over an (N, D) float32 matrix, without a copy."""
    flat = pa.array(np.ascontiguousarray(matrix).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])


def vector_widths(schema: pa.Schema) -> dict[str, int]:
    """Width of each vector column."""
    return {field.name: field.type.list_size for field in schema if pa.types.is_fixed_size_list(field.type)}


class Rows(Protocol):
    """Rows of a table that can be read again and again: a `pa.Table`, or a `RowSpool`."""

    def to_reader(self) -> pa.RecordBatchReader:
        """All rows, from the first one on."""
        ...


class _ConflictError(TransientError):
    """Another writer was faster."""


class _NoTableError(DataError):
    """The table, or a file of it, does not exist."""


class VectorTable:
    """One Lance table, addressed by its key in the bucket. It may not exist yet."""

    def __init__(self, store: Store, key: str) -> None:
        """Bind to a key; nothing is read."""
        self._store = store
        self.key = key
        self.uri = store.uri(key)

    def version(self) -> int | None:
        """Newest version, or None while the table does not exist."""
        dataset = self.open(None)
        return None if dataset is None else int(dataset.version)

    def id_at(self, version: int) -> str:
        """Id of the table that has this version; empty for a table of a release that gave none.

        Raises:
            DataError: there is no such version.
        """
        return _id_of(self._existing(version).schema)

    def widths(self, version: int | None = None) -> dict[str, int]:
        """Width of each vector column at a version (default: newest); empty while the table does not exist."""
        dataset = self.open(version)
        return {} if dataset is None else vector_widths(dataset.schema)

    def merge(self, rows: Rows) -> int:
        """Insert or replace rows by ``video_id``, each video once; returns the new version.

        One commit. Only into a table that exists, more than 64 MiB go in several, because Lance holds a merge in memory
        three times over; a table is created in one at any size, and memory stays flat.

        A table of another schema (upstream changed the width of its vectors) is replaced: older versions stay readable.

        Raises:
            TransientError: the server cannot be reached, or other writers were always faster.
        """
        return self._retrying(lambda: self._merge(rows))

    def drop(self, video_ids: Sequence[str]) -> int:
        """Take videos out of the current view; returns the new version. Older versions keep them.

        One commit for up to 10,000 videos.

        Raises:
            DataError: there is no table.
            TransientError: as `merge`.
        """
        return self._retrying(lambda: self._drop(video_ids))

    def _retrying(self, commit: Callable[[], int]) -> int:
        # Lance gives up a commit at the first reset, because it cannot know whether it was made. A merge by key can be
        # made twice, so it is started over: what is there now decides whether to create, replace or merge.
        return Retries(self._store.settings.retry_timeout_s).call(commit)

    def _merge(self, rows: Rows) -> int:
        dataset = self.open(None)
        reader = _keyed(rows.to_reader())
        if dataset is None:
            return self._create(_with_id(reader, uuid.uuid4().hex[:16]))
        if not dataset.schema.equals(reader.schema):
            options = self._store.lance_options()
            renewed = _with_id(reader, _id_of(dataset.schema))
            return self._version_of(
                lambda: lance.write_dataset(renewed, self.uri, mode="overwrite", storage_options=options)
            )
        for part in _parts(reader):
            builder = dataset.merge_insert(KEY).when_matched_update_all().when_not_matched_insert_all()
            self.guard(partial(builder.conflict_retries(_CONFLICT_RETRIES).execute, part))
        return int(dataset.version)

    def _drop(self, video_ids: Sequence[str]) -> int:
        dataset = self.open(None)
        if dataset is None:
            raise DataError(f"expected vector table {self.uri}, got none")
        for start in range(0, len(video_ids), _DROPPED_AT_ONCE):
            predicate = _any_of(video_ids[start : start + _DROPPED_AT_ONCE])
            self.guard(partial(dataset.delete, predicate, conflict_retries=_CONFLICT_RETRIES))
        return int(dataset.version)

    def read(
        self,
        columns: Sequence[str],
        video_ids: NDArray[np.object_],
        version: int,
        allocate: Allocate = in_memory,
        table_id: str | None = None,
    ) -> dict[str, F32]:
        """Vectors of the given videos at a version: by column, (N, D) float32 in the order of ``video_ids``.

        Args:
            columns: vector columns.
            video_ids: (N,) text, each once.
            version: table version.
            allocate: where the arrays live; they are filled in place.
            table_id: id that the table must have; None: any.

        Raises:
            DataError: the table or a video is not there at this version, or it is another table.
        """
        dataset = self._existing(version)
        if table_id is not None:
            self._require_id(dataset, table_id)
        arrays, filled = self.guard(lambda: read_vectors(dataset, KEY, columns, video_ids, allocate))
        if not filled.all():
            absent = video_ids[~filled]
            raise DataError(
                f"expected {len(video_ids)} videos in {self.uri} at version {version}, got {int(filled.sum())}: "
                f"{absent[0]} and {len(absent) - 1} more are missing"
            )
        return arrays

    def require(self, version: int, table_id: str) -> None:
        """Make sure that a version can still be read, and is of the table it was pinned of.

        Raises:
            DataError: there is no such version, or the table was lost and made anew.
        """
        self._require_id(self._existing(version), table_id)

    def _existing(self, version: int) -> lance.LanceDataset:
        dataset = self.open(version)
        if dataset is None:
            raise DataError(f"expected vector table {self.uri} at version {version}, got none: start a new run")
        return dataset

    def _require_id(self, dataset: lance.LanceDataset, table_id: str) -> None:
        if _id_of(dataset.schema) != table_id:
            raise DataError(
                f"expected the vector table with id {table_id or '(none)'}, got {_id_of(dataset.schema) or '(none)'}, "
                f"in {self.uri}: the table that this run pinned was lost and made anew; start a new run"
            )

    def _create(self, rows: pa.RecordBatchReader) -> int:
        """Write the first version, or fail with a conflict: `lance.write_dataset` would overwrite a faster writer's."""
        options = self._store.lance_options()

        def commit() -> lance.LanceDataset:
            fragments = lance.fragment.write_fragments(
                rows, self.uri, schema=rows.schema, mode="create", storage_options=options
            )
            first = lance.LanceOperation.Overwrite(rows.schema, fragments)
            return lance.LanceDataset.commit(self.uri, first, storage_options=options, max_retries=0)

        return self._version_of(commit)

    def _version_of(self, write: Callable[[], lance.LanceDataset]) -> int:
        return int(self.guard(write).version)

    def open(self, version: int | None) -> lance.LanceDataset | None:
        """The table at a version (None: newest), or None where there is none."""
        # Asked through the store first: Lance repeats even a refused listing for seconds before it says so.
        if not self._store.exists_under(f"{self.key}/_versions/"):
            return None
        access = self._store.lance_access(self.uri)
        try:
            return self.guard(lambda: lance.dataset(**access, version=version))
        except _NoTableError:
            return None

    def guard(self, call: Callable[[], _T]) -> _T:
        """Run a Lance call; its errors carry no types, so their texts decide what they mean for the operator."""
        try:
            return call()
        except (OSError, ValueError, RuntimeError) as error:
            text = str(error)
            refused = refusal(text, self.uri, self._store.settings)
            if any(sign in text for sign in _CONFLICTS):
                raise _ConflictError(f"expected to commit to {self.uri}, got a conflict: {said(text)}") from error
            if refused:
                raise refused from error
            if "was not found" in text or "Not found" in text:
                raise _NoTableError(f"expected the files of {self.uri}, got: {said(text)}") from error
            if isinstance(error, OSError) or any(sign in text for sign in _CUT_SHORT):
                raise TransientError(f"expected an answer for {self.uri}, got: {said(text)}") from error
            raise


def _keyed(rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
    key = rows.schema.field(KEY).with_nullable(nullable=False).with_metadata(_PRIMARY_KEY)
    return rows.cast(rows.schema.set(rows.schema.get_field_index(KEY), key))


def _id_of(schema: pa.Schema) -> str:
    return str((schema.metadata or {}).get(_ID, b""), "utf-8")


def _with_id(rows: pa.RecordBatchReader, table_id: str) -> pa.RecordBatchReader:
    return rows.cast(rows.schema.with_metadata({_ID: table_id}))


def _parts(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    batches: list[pa.RecordBatch] = []
    for batch in reader:
        batches.append(batch)
        if sum(held.nbytes for held in batches) >= _MERGED_AT_ONCE_BYTES:
            yield pa.Table.from_batches(batches)
            batches = []
    if batches:
        yield pa.Table.from_batches(batches)


def _any_of(video_ids: Sequence[str]) -> str:
    """A Lance predicate (SQL) that is true for these videos."""
    quoted = ", ".join("'" + video_id.replace("'", "''") + "'" for video_id in video_ids)
    return f"{KEY} IN ({quoted})"
