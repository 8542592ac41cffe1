"""Metadata CSV in, one Parquet file of typed rows per requested horizon out."""

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import ScannedHorizon, ScanRecord
from clipfarm_tasks.data.metadata_files import write_horizons
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.storage.temporary_disk import temporary_folder


def scan_metadata(context: StepContext) -> ScanRecord:
    """Read the pinned CSV once, for all horizons; a horizon without rows is the business of its filter_metadata.

    Raises:
        DataError: the CSV breaks a rule.
        ChangedObjectError: the run's copy of the CSV was overwritten.
        ConfigError: the temporary folder has no room.
    """
    pinned = context.config.inputs.metadata
    with temporary_folder("typed metadata beside the CSV", pinned.size) as folder:
        local = folder / "metadata.csv"
        kept = context.config.kept(pinned)
        context.store.download(kept.key, local, kept.etag, kept.size)
        files = {horizon: folder / f"{int(horizon)}.parquet" for horizon in context.params.horizons}
        with local.open("rb") as source:
            facts = write_horizons(
                source,
                context.store.uri(pinned.key),
                files,
                context.params.feature_set_version,
                context.params.extra_features,
            )
        horizons = {}
        for horizon, path in files.items():
            key = keys.scanned_metadata(context.run_id, horizon)
            horizons[horizon] = ScannedHorizon(
                key=key, rows=facts.rows[horizon], size=path.stat().st_size, sha256=context.store.upload(key, path)
            )
    return ScanRecord(rows_read=facts.rows_read, horizons=horizons)
