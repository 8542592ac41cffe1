"""Bring a strategy's fused vectors into its vector table: fetch only the shards of rows that are not there yet."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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
from clipfarm_tasks.vectors.quarantine import (
    RULES,
    BadVectorError,
    Quarantined,
    Reason,
    check_size,
    quarantine_all,
)
from clipfarm_tasks.vectors.shards import Shard, decode_shard, largest_shard, slice_shard
from clipfarm_tasks.vectors.table import KEY, VectorTable, vectors
from clipfarm_tasks.vectors.update import Held, Source, update_table, verdicts
from clipfarm_tasks.vectors.upstream_keys import UpstreamKeys

# Shards are megabytes each: a few in flight keep the line busy, more would only fill the memory.
_SHARDS_IN_FLIGHT = 4
_ABSENT = BadVectorError(Reason.MISSING_OBJECT, "expected a shard, got no object")


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
    manifest = context.table(record.key, record.sha256, [KEY, "fused_key", "shard_idx", "fused_dim", "shard_n"])
    table = VectorTable(context.store, keys.fused_table(strategy))
    width = _declared_width(context, strategy, manifest)
    meter = Meter(context.store)
    folder = keys.fused_shards(strategy)
    upstream = UpstreamKeys(context.settings.upstream_prefixes)
    named = upstream.inside(manifest["fused_key"])
    listed = Listed.of(context.store, [folder], [named])
    shards = _Shards(listed.by_key, upstream, width, _rows_by_shard(manifest))

    def fetch(new: pa.Table, _: Held) -> Iterator[pa.RecordBatch]:
        return _fetch(context, new, shards, meter)

    def is_gone(rows: pa.Table) -> NDArray[np.bool_]:
        return listed.missing(context.store, rows["fused_key"], folder)

    updated = update_table(table, Source(_wanted(manifest, named, listed), [], {"vector": width}, fetch, is_gone))
    return context.settle(task, record_vectors(context, table.key, updated, updated.rows.select([KEY]), meter))


def _declared_width(context: StepContext, strategy: Strategy, manifest: pa.Table) -> int:
    """``fused_dim`` of schema.json, or where there is none the manifest's most frequent one, the least of equals."""
    schema = context.fused_schema(strategy)
    return int(pc.mode(manifest["fused_dim"])[0]["mode"].as_py()) if schema is None else schema.fused_dim


def _rows_by_shard(manifest: pa.Table) -> dict[str, int | None]:
    """How many rows each shard should have, by key: as many as the manifest tells, or None where it does not."""
    rows = manifest.select(["fused_key", "shard_n", "shard_idx"]).group_by("fused_key")
    last = rows.aggregate([("shard_n", "max"), ("shard_idx", "max")]).to_pylist()
    return {
        row["fused_key"]: None if row["shard_n_max"] is None else max(row["shard_n_max"], row["shard_idx_max"] + 1)
        for row in last
    }


def _wanted(manifest: pa.Table, named: pa.ChunkedArray, listed: Listed) -> pa.Table:
    """Shard and row say where a vector comes from; the ETag, empty where there is no shard, that it still does."""
    columns = {name: manifest[name] for name in (KEY, "fused_key", "shard_idx")}
    columns["etag"] = listed.etags(named)
    columns["rules"] = pa.repeat(pa.scalar(RULES, pa.int32()), len(manifest))
    return pa.table(columns).sort_by(KEY)


@dataclass(frozen=True)
class _Shards:
    """What is known of shards before they are read: those listed, where keys may lead, their width and rows by key."""

    listed: Mapping[str, ObjectInfo]
    upstream: UpstreamKeys
    width: int
    rows: Mapping[str, int | None]

    def find(self, key: str) -> ObjectInfo:
        """What the listing tells of a shard that can be read.

        Raises:
            BadVectorError: its key leads elsewhere, or it does not exist, or it is larger than a shard can be.
        """
        self.upstream.check(key)
        info = self.listed.get(key)
        if info is None:
            raise _ABSENT
        check_size(info.size, largest_shard(self.rows[key], self.width))
        return info

    def decode(self, fetched: Fetched) -> Shard:
        """Read a shard, unpacking no more than it can hold."""
        rows = self.rows[fetched.key]
        return decode_shard(fetched.body, fetched.key, None if rows is None else largest_shard(rows, self.width))


def _fetch(context: StepContext, new: pa.Table, shards: _Shards, meter: Meter) -> Iterator[pa.RecordBatch]:
    """All rows of ``new``, shard by shard: each is read once, and all its wanted rows are taken at once."""
    by_shard = {str(key): rows for key, rows in new.to_pandas().groupby("fused_key", sort=True)}
    there = []
    for key, rows in by_shard.items():
        try:
            there.append(shards.find(key))
        except BadVectorError as error:
            yield _rejected(rows, error, shards.width)
    for info, fetched in context.store.get_listed(there, _SHARDS_IN_FLIGHT):
        rows = by_shard[info.key]
        if fetched is None:  # removed since it was listed
            yield _rejected(rows.assign(etag=""), _ABSENT, shards.width)
            continue
        meter.add(fetched.body)
        rows = rows.assign(etag=fetched.etag)
        try:
            yield _sliced(shards.decode(fetched), rows, shards.width)
        except BadVectorError as error:
            yield _rejected(rows, error, shards.width)


def _sliced(shard: Shard, rows: pd.DataFrame, width: int) -> pa.RecordBatch:
    ids = rows[KEY].to_numpy(dtype=object)
    good, matrix, quarantined = slice_shard(shard, ids, rows["shard_idx"].to_numpy(dtype=np.int64), width)
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
