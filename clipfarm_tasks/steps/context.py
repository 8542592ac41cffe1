"""What every step works with: the store, the run's config, and the run's working set as tables and records."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clipfarm_tasks import keys
from clipfarm_tasks.config import Frozen, RunParams, Settings
from clipfarm_tasks.data.fused_schema import FusedSchema
from clipfarm_tasks.errors import DataError, MissingObjectError
from clipfarm_tasks.families import Strategy
from clipfarm_tasks.run_config import PinnedObject, RunConfig
from clipfarm_tasks.storage import Store
from clipfarm_tasks.storage.documents import parse_document, read_own

_R = TypeVar("_R", bound=Frozen)


def load_config(store: Store, run_id: str) -> RunConfig:
    """The resolved config of a run.

    Raises:
        MissingObjectError: no run of this id was resolved.
    """
    key = keys.run_config(run_id)
    try:
        return read_own(store, key, partial(parse_document, RunConfig))
    except MissingObjectError as error:
        raise MissingObjectError(
            f"expected a resolved run {run_id!r}, got no config at {store.uri(key)}: run resolve_run first"
        ) from error


@dataclass(frozen=True)
class StepContext:
    """One run as a step sees it."""

    store: Store
    settings: Settings
    config: RunConfig

    @property
    def run_id(self) -> str:
        """Id used in every key of the run."""
        return self.config.run_id

    @property
    def params(self) -> RunParams:
        """The run's effective parameters."""
        return self.config.params

    def record(self, kind: type[_R], task: str) -> _R:
        """What an upstream task returned.

        Raises:
            MissingObjectError: that task has not finished in this run.
        """
        key = keys.run_record(self.run_id, task)
        try:
            return read_own(self.store, key, partial(parse_document, kind))
        except MissingObjectError as error:
            raise MissingObjectError(
                f"expected {task} to have finished, got no record at {self.store.uri(key)}: run that task first"
            ) from error

    def standing(self, kind: type[_R], task: str) -> _R | None:
        """What this task returned in an earlier attempt of the run, or None."""
        key = keys.run_record(self.run_id, task)
        try:
            return read_own(self.store, key, partial(parse_document, kind))
        except MissingObjectError:
            return None

    def settle(self, task: str, record: _R) -> _R:
        """Make this the record of a task for good, unless another attempt has settled it: then that one stands."""
        body = record.model_dump_json(indent=1).encode()
        if self.store.create(keys.run_record(self.run_id, task), body):
            return record
        return self.record(type(record), task)

    def holds(self, key: str, sha256: str) -> bool:
        """Whether an object of the working set is there with this content."""
        try:
            self.bytes(key, sha256)
        except DataError:
            return False
        return True

    def fused_schema(self, strategy: Strategy) -> FusedSchema | None:
        """Widths upstream declared when the run was resolved; None where it declared none."""
        pinned = self.config.inputs.schemas.get(strategy)
        if pinned is None:
            return None
        return parse_document(FusedSchema, self.input_bytes(pinned), self.store.uri(pinned.key))

    def input_bytes(self, pinned: PinnedObject) -> bytes:
        """Content of an input object as it was when the run was resolved.

        Raises:
            ChangedObjectError: the run's copy of it was overwritten.
        """
        kept = self.config.kept(pinned)
        return self.store.get(kept.key, kept.etag, kept.size)

    def put_table(self, key: str, table: pa.Table) -> str:
        """Write a table as Parquet; returns its sha256 (hex)."""
        return self.put_bytes(key, table_bytes(table))

    def put_bytes(self, key: str, body: bytes) -> str:
        """Write bytes; returns their sha256 (hex)."""
        self.store.put(key, body)
        return hashlib.sha256(body).hexdigest()

    def frame(self, key: str, sha256: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read these columns (all, if None) of a Parquet frame of the working set; see `bytes`."""
        return pd.read_parquet(io.BytesIO(self.bytes(key, sha256)), columns=columns)

    def table(self, key: str, sha256: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read these columns (all, if None) of a Parquet table of the working set; see `bytes`."""
        return pq.read_table(pa.BufferReader(self.bytes(key, sha256)), columns=columns)

    def bytes(self, key: str, sha256: str) -> bytes:
        """Read an object of the working set, exactly as its record describes it.

        Raises:
            DataError: the object is not the one recorded.
        """

        def check(body: bytes, where: str) -> bytes:
            actual = hashlib.sha256(body).hexdigest()
            if actual != sha256:
                raise DataError(f"expected sha256 {sha256}, got {actual}, in {where}: clear the task again")
            return body

        return read_own(self.store, key, check)


def table_bytes(table: pa.Table) -> bytes:
    """A table as Parquet bytes: the same for the same rows, however many pieces they come in."""
    whole = table.combine_chunks()
    buffer = io.BytesIO()
    pq.write_table(pa.table(whole.columns, names=whole.column_names), buffer)
    return buffer.getvalue()


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """A frame as Parquet bytes."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def json_bytes(document: Any) -> bytes:
    """A document as readable JSON bytes; NaN is refused, because JSON has none."""
    return (json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
