"""The common end of both reconstruct steps: check the losses, write the usable rows and the quarantine list."""

import hashlib
import logging

import pyarrow as pa

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import VectorsRecord
from clipfarm_tasks.steps.context import StepContext, table_bytes
from clipfarm_tasks.vectors.meter import Meter
from clipfarm_tasks.vectors.quarantine import Quarantined, check_fraction, count_by_reason
from clipfarm_tasks.vectors.table import VectorTable
from clipfarm_tasks.vectors.update import Updated

log = logging.getLogger(__name__)


def record_vectors(
    context: StepContext,
    key: str,
    updated: Updated,
    usable: pa.Table,
    meter: Meter,
    text_present: int = 0,
    text_missing: int = 0,
) -> VectorsRecord:
    """Write what a run may use of a table and what it may not.

    Args:
        context: the run.
        key: S3 key of the table.
        updated: its pinned version.
        usable: one row per usable video.
        meter: what the update cost.
        text_present: usable videos with a text vector.
        text_missing: usable videos without the text they name.

    Raises:
        DataError: more than ``max_quarantined_fraction`` of the rows are unusable; the list is written first.
    """
    table = keys.table_name(key)
    quarantined = updated.quarantined
    throughput = meter.stop(updated)
    reasons = count_by_reason(quarantined)
    quarantine_key = keys.quarantine(context.run_id, table)
    context.put_table(quarantine_key, _quarantine_table(quarantined))
    log.info(
        "%s: %d objects, %d bytes in %.1f s (%.0f objects/s), %d retries, %d rows cached, %d quarantined %s, "
        "%d without the text they name",
        table,
        throughput.objects,
        throughput.bytes,
        throughput.seconds,
        throughput.objects_per_s,
        throughput.retries,
        throughput.cached,
        throughput.quarantined,
        reasons,
        text_missing,
    )
    limit = context.params.max_quarantined_fraction
    where = f"{table} (all of them: {context.store.uri(quarantine_key)})"
    check_fraction(quarantined, len(usable) + len(quarantined), limit, where)
    body = table_bytes(usable)
    sha256 = hashlib.sha256(body).hexdigest()
    rows_key = keys.vector_rows(context.run_id, table, sha256)
    context.put_bytes(rows_key, body)
    return VectorsRecord(
        table=table,
        key=key,
        table_id=VectorTable(context.store, key).id_at(updated.version),
        version=updated.version,
        rows_key=rows_key,
        rows=len(usable),
        sha256=sha256,
        quarantine_key=quarantine_key,
        quarantined=reasons,
        text_present=text_present,
        text_missing=text_missing,
        throughput=throughput,
    )


def _quarantine_table(quarantined: list[Quarantined]) -> pa.Table:
    columns = ("video_id", "key", "reason", "detail")
    table = pa.table(
        {name: pa.array([str(getattr(row, name)) for row in quarantined], pa.string()) for name in columns}
    )
    return table.sort_by([(name, "ascending") for name in columns])
