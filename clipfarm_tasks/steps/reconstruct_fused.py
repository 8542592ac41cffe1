"""Bring a strategy's fused vectors into its vector table: fetch only the shards of rows that are not there yet."""

import numpy as np
import pandas as pd
import pyarrow as pa

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import ManifestRecord, VectorsRecord
from clipfarm_tasks.data.quarantine import BadVectorError, Quarantined, Reason, quarantine_all
from clipfarm_tasks.data.shards import decode_shard, slice_shard
from clipfarm_tasks.families import Strategy
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.steps.record_vectors import Meter, record_vectors
from clipfarm_tasks.steps.update_table import update_table
from clipfarm_tasks.storage import Fetched
from clipfarm_tasks.vector_tables import VectorTable, vectors

# Shards are megabytes each: a few in flight keep the line busy, more would only fill the memory.
_SHARDS_IN_FLIGHT = 4
_SOURCE = ["video_id", "fused_key", "shard_idx"]


def reconstruct_fused(context: StepContext, strategy: Strategy) -> VectorsRecord:
    """Verify and merge the new rows of a strategy; returns a table version that holds all its usable rows.

    Raises:
        DataError: too many rows are unusable, or none is usable.
    """
    record = context.record(ManifestRecord, keys.task_id("resolve_manifest", strategy))
    manifest = context.frame(record.key, record.sha256)
    table = VectorTable(context.store, keys.fused_table(strategy))
    width = _declared_width(context, strategy, manifest)
    meter = Meter(context.store)

    def fetch(rows: pd.DataFrame) -> tuple[pa.Table | None, list[Quarantined]]:
        return _fetch(context, rows, width, meter)

    # Shards are immutable, so shard and row say all about where a vector came from.
    updated = update_table(table, manifest[_SOURCE], _SOURCE, [], {"vector": width}, fetch)
    return record_vectors(
        context,
        table.key,
        updated.version,
        updated.rows[["video_id"]],
        updated.quarantined,
        meter.stop(updated.cached),
    )


def _declared_width(context: StepContext, strategy: Strategy, manifest: pd.DataFrame) -> int:
    """``fused_dim`` of schema.json, or where there is none the manifest's most frequent one."""
    schema = context.fused_schema(strategy)
    return int(manifest["fused_dim"].mode().iloc[0]) if schema is None else schema.fused_dim


def _fetch(
    context: StepContext, rows: pd.DataFrame, width: int, meter: Meter
) -> tuple[pa.Table | None, list[Quarantined]]:
    """Fetch each shard once and take all its wanted rows at once."""
    by_shard = dict(list(rows.groupby("fused_key", sort=True)))
    tables: list[pa.Table] = []
    quarantined: list[Quarantined] = []
    for key, fetched in context.store.get_many(by_shard, _SHARDS_IN_FLIGHT):
        wanted = by_shard[key]
        if fetched is None:
            missing = BadVectorError(Reason.MISSING_OBJECT, "expected a shard, got no object")
            quarantined += quarantine_all(wanted["video_id"], key, missing)
            continue
        meter.add(fetched.body)
        try:
            table, bad = _verified(fetched, wanted, width)
        except BadVectorError as error:
            quarantined += quarantine_all(wanted["video_id"], key, error)
            continue
        tables.append(table)
        quarantined += bad
    return pa.concat_tables(tables) if tables else None, quarantined


def _verified(fetched: Fetched, wanted: pd.DataFrame, width: int) -> tuple[pa.Table, list[Quarantined]]:
    ids = wanted["video_id"].to_numpy(dtype=object)
    rows = wanted["shard_idx"].to_numpy(dtype=np.int64)
    good, matrix, quarantined = slice_shard(decode_shard(fetched.body, fetched.key), ids, rows, width)
    count = int(good.sum())
    columns = {
        "video_id": pa.array(ids[good], pa.string()),
        "fused_key": pa.array([fetched.key] * count, pa.string()),
        "shard_idx": pa.array(rows[good], pa.int64()),
        "etag": pa.array([fetched.etag] * count, pa.string()),
        "vector": vectors(matrix),
    }
    return pa.table(columns), quarantined
