"""Bring the video, audio and text vectors of all strategies' videos into one table: fetch only what changed."""

import logging

import pandas as pd
import pyarrow as pa

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import ManifestRecord, VectorsRecord
from clipfarm_tasks.data.modality_rows import assemble
from clipfarm_tasks.data.quarantine import Quarantined
from clipfarm_tasks.errors import MissingObjectError
from clipfarm_tasks.families import Modality
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.steps.record_vectors import Meter, record_vectors
from clipfarm_tasks.steps.update_table import update_table
from clipfarm_tasks.vector_tables import VectorTable, vectors

log = logging.getLogger(__name__)
_KEY_COLUMNS = [f"{modality}_emb_key" for modality in Modality]
_ETAG_COLUMNS = [f"{modality}_etag" for modality in Modality]
_IDENTITY = ["video_id", *_KEY_COLUMNS, *_ETAG_COLUMNS]


def reconstruct_modalities(context: StepContext) -> VectorsRecord:
    """Verify and merge new and changed modality vectors; returns a table version that holds all usable videos.

    Raises:
        DataError: too many videos are unusable, or none is usable.
        MissingObjectError: no strategy of the run has a resolved manifest.
    """
    table = VectorTable(context.store, keys.modalities_table())
    meter = Meter(context.store)
    declared = _declared_widths(context) or {Modality(name): width for name, width in table.widths().items()}
    wanted = _with_etags(context, _wanted(context))

    def fetch(rows: pd.DataFrame) -> tuple[pa.Table, list[Quarantined]]:
        return _fetch(context, rows, declared, meter)

    widths = {str(modality): width for modality, width in declared.items()}
    updated = update_table(table, wanted, _IDENTITY, ["text_present"], widths, fetch)
    usable = updated.rows.astype({"video_id": "str", "text_present": "int8"})
    promised = usable["text_emb_key"] != ""
    return record_vectors(
        context,
        table.key,
        updated.version,
        usable[["video_id", "text_present"]],
        updated.quarantined,
        meter.stop(updated.cached),
        text_missing=int((promised & (usable["text_present"] == 0)).sum()),
    )


def _wanted(context: StepContext) -> pd.DataFrame:
    """One row per video over the strategies whose manifest was resolved; the latest capture names the keys."""
    frames = []
    for strategy in context.params.strategies:
        try:
            record = context.record(ManifestRecord, keys.task_id("resolve_manifest", strategy))
        except MissingObjectError as error:
            log.warning("reconstruct_modalities goes on without strategy %s: %s", strategy, error)
            continue
        frames.append(context.frame(record.key, record.sha256))
    if not frames:
        raise MissingObjectError(
            f"expected a resolved manifest of one of {', '.join(context.params.strategies)}, got none in run "
            f"{context.run_id}"
        )
    # Stable sort: strategies that agree on the time keep their canonical order, so the result is deterministic.
    union = pd.concat(frames).sort_values("captured_at", kind="stable", na_position="first")
    wanted = union.drop_duplicates("video_id", keep="last").sort_values("video_id", ignore_index=True)
    wanted[_KEY_COLUMNS] = wanted[_KEY_COLUMNS].fillna("")
    wanted.loc[wanted["text_present"] == 0, "text_emb_key"] = ""
    return wanted[["video_id", *_KEY_COLUMNS]]


def _with_etags(context: StepContext, wanted: pd.DataFrame) -> pd.DataFrame:
    """Add the current ETag of each object, empty when there is none. One listing tells those of a whole prefix."""
    columns = {}
    for modality, key_column, etag_column in zip(Modality, _KEY_COLUMNS, _ETAG_COLUMNS, strict=True):
        prefix = keys.embeddings_prefix(modality)
        known = {info.key: info.etag for info in context.store.list(prefix)}
        for key in wanted[key_column]:
            if key and not key.startswith(prefix):
                info = context.store.head(key)
                known[key] = "" if info is None else info.etag
        columns[etag_column] = [known.get(key, "") for key in wanted[key_column]]
    return wanted.assign(**columns)


def _fetch(
    context: StepContext, new: pd.DataFrame, widths: dict[Modality, int], meter: Meter
) -> tuple[pa.Table, list[Quarantined]]:
    listed = [
        key
        for key_column, etag_column in zip(_KEY_COLUMNS, _ETAG_COLUMNS, strict=True)
        for key, etag in zip(new[key_column], new[etag_column], strict=True)
        if etag
    ]
    bodies: dict[str, bytes] = {}
    etags: dict[str, str] = {}
    for key, fetched in context.store.get_many(listed):
        if fetched is not None:
            meter.add(fetched.body)
            bodies[key], etags[key] = fetched.body, fetched.etag
    by_modality = {modality: new[column].tolist() for modality, column in zip(Modality, _KEY_COLUMNS, strict=True)}
    rows = assemble(new["video_id"].tolist(), by_modality, bodies, widths)
    good = new.iloc[rows.positions]
    columns: dict[str, pa.Array] = {"video_id": pa.array(good["video_id"], pa.string())}
    for key_column, etag_column in zip(_KEY_COLUMNS, _ETAG_COLUMNS, strict=True):
        columns[key_column] = pa.array(good[key_column], pa.string())
        # The ETag of what was read, which is not the listed one when the object was overwritten since.
        columns[etag_column] = pa.array([etags.get(key, "") for key in good[key_column]], pa.string())
    columns["text_present"] = pa.array(rows.text_present, pa.int8())
    for modality, matrix in rows.vectors.items():
        columns[str(modality)] = vectors(matrix)
    return pa.table(columns), rows.quarantined


def _declared_widths(context: StepContext) -> dict[Modality, int]:
    """Widths by the first strategy that has a schema.json; empty when none has."""
    schemas = (context.fused_schema(strategy) for strategy in context.params.strategies)
    return next((schema.modality_widths for schema in schemas if schema is not None), {})
