"""Metadata CSV in, the labelled rows of one horizon out."""

import tempfile
from pathlib import Path

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import MetadataRecord
from clipfarm_tasks.data.metadata import read_metadata, select_horizon
from clipfarm_tasks.data.metadata_report import MetadataReport
from clipfarm_tasks.families import Horizon
from clipfarm_tasks.steps.context import StepContext, json_bytes


def filter_metadata(context: StepContext, horizon: Horizon) -> MetadataRecord:
    """Read the pinned CSV, keep the latest usable row of each video at this horizon, write it with its report.

    Raises:
        DataError: the CSV breaks a rule, or has no row of the horizon.
        ChangedObjectError: upstream overwrote the CSV after the run was resolved.
    """
    pinned = context.config.inputs.metadata
    where = context.store.uri(pinned.key)
    with tempfile.TemporaryDirectory(prefix="clipfarm-") as folder:
        local = Path(folder) / "metadata.csv"
        context.store.download(pinned.key, local, pinned.etag)
        with local.open("rb") as source:
            table = read_metadata(source, where)
    rows = select_horizon(table, horizon, where)
    key = keys.filtered_metadata(context.run_id, horizon)
    report_key = keys.metadata_report(context.run_id, horizon)
    report = MetadataReport(
        features=rows.spec,
        rows_read=rows.rows_read,
        dropped=rows.dropped,
        unreadable=rows.unreadable,
        missing_rate=rows.missing_rate,
    )
    report_sha256 = context.put_bytes(report_key, json_bytes(report.model_dump(mode="json")))
    return MetadataRecord(
        horizon=horizon,
        key=key,
        report_key=report_key,
        report_sha256=report_sha256,
        rows=len(rows.frame),
        sha256=context.put_frame(key, rows.frame),
        dropped=rows.dropped,
    )
