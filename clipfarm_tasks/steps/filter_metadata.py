"""The scanned rows of one horizon in, its labelled rows out: one per video."""

import hashlib
from pathlib import Path

import pyarrow.parquet as pq

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import MetadataRecord, ScannedHorizon, ScanRecord
from clipfarm_tasks.data.losses import check_lost
from clipfarm_tasks.data.metadata_files import HorizonFile
from clipfarm_tasks.data.metadata_horizon import HorizonRows, filtered_rows, filtered_schema, select_horizon
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Horizon
from clipfarm_tasks.steps.context import StepContext, json_bytes
from clipfarm_tasks.storage.temporary_disk import temporary_folder

_BROKEN = ("ragged_row", "missing_video_id", "undecodable_video_id", "unusable_horizon")


def filter_metadata(context: StepContext, horizon: Horizon) -> MetadataRecord:
    """Keep the latest usable row of each video at this horizon, write it with its report.

    Raises:
        DataError: the CSV has no row of the horizon, or none with a usable label, or a feature that cannot be read.
        ConfigError: extra_features or exclude_features names a column that is not there, or that cannot be used; or the
            temporary folder has no room.
    """
    scanned = context.record(ScanRecord, keys.task_id("scan_metadata")).horizons[horizon]
    where, params = context.store.uri(context.config.inputs.metadata.key), context.params
    with temporary_folder("labelled rows beside the scanned ones", scanned.size) as folder:
        file = HorizonFile(_download(context, scanned, folder))
        rows = select_horizon(
            file, horizon, where, params.feature_set_version, params.extra_features, params.exclude_features
        )
        _check_losses(rows, params.max_lost_fraction, where)
        key = keys.filtered_metadata(context.run_id, horizon)
        local = folder / "filtered.parquet"
        with pq.ParquetWriter(local, filtered_schema(rows.report.features)) as writer:
            for part in filtered_rows(file, rows):
                writer.write_table(part)
        sha256 = context.store.upload(key, local)
    report_key = keys.metadata_report(context.run_id, horizon)
    return MetadataRecord(
        horizon=horizon,
        key=key,
        report_key=report_key,
        report_sha256=context.put_bytes(report_key, json_bytes(rows.report.model_dump(mode="json"))),
        rows=rows.chosen.size,
        sha256=sha256,
        dropped=rows.report.dropped,
    )


def _check_losses(rows: HorizonRows, limit: float, where: str) -> None:
    """Rows of the CSV that could not be read as such; and labels that could not, of the videos that have one."""
    dropped = rows.report.dropped
    broken = {reason: dropped[reason] for reason in _BROKEN if reason in dropped}
    check_lost(broken, rows.report.rows_read, limit, where)
    unread = {reason: dropped[reason] for reason in ("unparsable_label",) if reason in dropped}
    check_lost(unread, rows.chosen.size + sum(unread.values()), limit, where)


def _download(context: StepContext, scanned: ScannedHorizon, folder: Path) -> Path:
    """Bring the horizon's scanned rows onto the disk, exactly as their record describes them."""
    local = folder / "scanned.parquet"
    context.store.download(scanned.key, local, size=scanned.size)
    with local.open("rb") as body:
        actual = hashlib.file_digest(body, "sha256").hexdigest()
    if actual != scanned.sha256:
        raise DataError(
            f"expected sha256 {scanned.sha256}, got {actual}, in {context.store.uri(scanned.key)}: clear scan_metadata "
            "with downstream"
        )
    return local
