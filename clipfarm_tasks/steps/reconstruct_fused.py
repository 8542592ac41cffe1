"""Bring a strategy's fused vectors into its vector table: fetch only the shards of rows that are not there yet."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import ManifestRecord, VectorsRecord
from clipfarm_tasks.families import Strategy
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.steps.record_vectors import record_vectors
from clipfarm_tasks.steps.settled_vectors import settled_vectors
from clipfarm_tasks.storage import Fetched, ObjectInfo
from clipfarm_tasks.vectors.listed import Listed
from clipfarm_tasks.vectors.meter import Meter
from clipfarm_tasks.vectors.quarantine import RULES, BadVectorError, Quarantined, Reason, quarantine_all
from clipfarm_tasks.vectors.shards import decode_shard, slice_shard
from clipfarm_tasks.vectors.table import KEY, VectorTable, vectors
from clipfarm_tasks.vectors.update import Held, Source, update_table, verdicts

# Shards are megabytes each: a few in flight keep the line busy, more would only fill the memory.
_SHARDS_IN_FLIGHT = 4


def reconstruct_fused(context: StepContext, strategy: Strategy) -> VectorsRecord:
    """Verify and merge the new rows of a strategy; returns a table version that holds all its usable rows.

    A version that an earlier attempt has settled stays the run's.

    Raises:
        DataError: too many rows are unusable, or none is usable.
    """
    task = keys.task_id("reconstruct_fused", strategy)
    settled = settled_vectors(context, task)
    if settled is not None:
        return settled
    record = context.record(ManifestRecord, keys.task_id("resolve_manifest", strategy))
    manifest = context.table(record.key, record.sha256, [KEY, "fused_key", "shard_idx", "fused_dim"])
    table = VectorTable(context.store, keys.fused_table(strategy))
    width = _declared_width(context, strategy, manifest)
    meter = Meter(context.store)
    folder = keys.fused_shards(strategy)
    listed = Listed.of(context.store, [folder], [manifest["fused_key"]])

    def fetch(new: pa.Table, _: Held) -> Iterator[pa.RecordBatch]:
        return _fetch(context, new, listed.by_key, width, meter)

    def is_gone(rows: pa.Table) -> NDArray[np.bool_]:
        return listed.missing(context.store, rows["fused_key"], folder)

    updated = update_table(table, Source(_wanted(manifest, listed), [], {"vector": width}, fetch, is_gone))
    return context.settle(task, record_vectors(context, table.key, updated, updated.rows.select([KEY]), meter))


def _declared_width(context: StepContext, strategy: Strategy, manifest: pa.Table) -> int:
    """``fused_dim`` of schema.json, or where there is none the manifest's most frequent one, the least of equals."""
    schema = context.fused_schema(strategy)
    return int(pc.mode(manifest["fused_dim"])[0]["mode"].as_py()) if schema is None else schema.fused_dim


def _wanted(manifest: pa.Table, listed: Listed) -> pa.Table:
    """Shard and row say where a vector comes from; the ETag, empty where there is no shard, that it still does."""
    rows = manifest.select([KEY, "fused_key", "shard_idx"]).sort_by(KEY)
    columns = dict(zip(rows.column_names, rows.columns, strict=True))
    columns["etag"] = listed.etags(rows["fused_key"])
    return pa.table(columns | {"rules": pa.repeat(pa.scalar(RULES, pa.int32()), len(rows))})


def _fetch(
    context: StepContext, new: pa.Table, listed: Mapping[str, ObjectInfo], width: int, meter: Meter
) -> Iterator[pa.RecordBatch]:
    """All rows of ``new``, shard by shard: each is read once, and all its wanted rows are taken at once."""
    by_shard = {str(key): rows for key, rows in new.to_pandas().groupby("fused_key", sort=True)}
    absent = BadVectorError(Reason.MISSING_OBJECT, "expected a shard, got no object")
    for key in by_shard.keys() - listed.keys():
        yield _rejected(by_shard[key], absent, width)
    there = (listed[key] for key in by_shard if key in listed)
    for info, fetched in context.store.get_listed(there, _SHARDS_IN_FLIGHT):
        rows = by_shard[info.key]
        if fetched is None:  # removed since it was listed
            yield _rejected(rows.assign(etag=""), absent, width)
            continue
        meter.add(fetched.body)
        rows = rows.assign(etag=fetched.etag)
        try:
            yield _sliced(fetched, rows, width)
        except BadVectorError as error:
            yield _rejected(rows, error, width)


def _sliced(fetched: Fetched, rows: pd.DataFrame, width: int) -> pa.RecordBatch:
    ids = rows[KEY].to_numpy(dtype=object)
    good, matrix, quarantined = slice_shard(
        decode_shard(fetched.body, fetched.key), ids, rows["shard_idx"].to_numpy(dtype=np.int64), width
    )
    if good.all():
        return _batch(rows, matrix, {})
    full = np.zeros((len(rows), width), np.float32)
    full[good] = matrix
    return _batch(rows, full, dict(zip(np.flatnonzero(~good).tolist(), quarantined, strict=True)))


def _rejected(rows: pd.DataFrame, error: BadVectorError, width: int) -> pa.RecordBatch:
    bad = quarantine_all(rows[KEY], rows["fused_key"].iloc[0], error)
    return _batch(rows, np.zeros((len(rows), width), np.float32), dict(enumerate(bad)))


def _batch(rows: pd.DataFrame, matrix: NDArray[np.float32], bad: dict[int, Quarantined]) -> pa.RecordBatch:
    columns = {
        KEY: pa.array(rows[KEY], pa.string()),
        "fused_key": pa.array(rows["fused_key"], pa.string()),
        "shard_idx": pa.array(rows["shard_idx"], pa.int64()),
        "etag": pa.array(rows["etag"], pa.string()),
        "rules": pa.array(rows["rules"], pa.int32()),
        **verdicts(len(rows), bad),
        "vector": vectors(matrix),
    }
    return pa.record_batch(columns)
