"""Bring the video, audio and text vectors of all strategies' videos into one table: fetch only what changed."""

import logging
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import ManifestRecord, VectorsRecord
from clipfarm_tasks.data.modality_rows import REQUIRED
from clipfarm_tasks.data.quarantine import RULES
from clipfarm_tasks.errors import MissingObjectError
from clipfarm_tasks.families import Modality
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.steps.fetch_modalities import ETAG_COLUMNS, KEY_COLUMNS, fetch_modalities
from clipfarm_tasks.steps.record_vectors import Meter, record_vectors
from clipfarm_tasks.steps.update_table import Held, Source, missing, update_table
from clipfarm_tasks.storage import ObjectInfo
from clipfarm_tasks.vector_tables import KEY, VectorTable

log = logging.getLogger(__name__)


def reconstruct_modalities(context: StepContext) -> VectorsRecord:
    """Verify and merge new and changed modality vectors; returns a table version that holds all usable videos.

    Raises:
        DataError: too many videos are unusable, or none is usable.
        MissingObjectError: no strategy of the run has a resolved manifest.
    """
    table = VectorTable(context.store, keys.modalities_table())
    meter = Meter(context.store)
    declared = _declared_widths(context)
    latest = _latest(context)
    listed = _listed(context, latest)

    def fetch(new: pa.Table, held: Held) -> Iterator[pa.RecordBatch]:
        return fetch_modalities(context.store, table, new, held, listed, declared, meter)

    def is_gone(rows: pa.Table) -> NDArray[np.bool_]:
        return _lost(context, rows, listed)

    wanted = _with_etags(latest, listed)
    widths = {str(modality): width for modality, width in declared.items()}
    updated = update_table(table, Source(wanted, ["text_present"], widths, fetch, is_gone))
    usable = updated.rows.astype({KEY: "str", "text_present": "int8"})
    promised = usable[KEY_COLUMNS[Modality.TEXT]] != ""
    return record_vectors(
        context,
        table.key,
        updated,
        usable[[KEY, "text_present"]],
        meter,
        text_missing=int((promised & (usable["text_present"] == 0)).sum()),
    )


def _latest(context: StepContext) -> pd.DataFrame:
    """Keys by video over the strategies whose manifest was resolved; the latest capture names them."""
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
    columns = list(KEY_COLUMNS.values())
    # Stable sort: strategies that agree on the time keep their canonical order, so the result is deterministic.
    union = pd.concat(frames).sort_values("captured_at", kind="stable", na_position="first")
    latest = union.drop_duplicates(KEY, keep="last").sort_values(KEY, ignore_index=True)
    latest[columns] = latest[columns].fillna("")
    latest.loc[latest["text_present"] == 0, KEY_COLUMNS[Modality.TEXT]] = ""
    return latest[[KEY, *columns]]


def _listed(context: StepContext, latest: pd.DataFrame) -> dict[str, ObjectInfo]:
    """Size and ETag of every object there is, by key. A listing tells 1,000 with one request."""
    prefixes = tuple(keys.embeddings_prefix(modality) for modality in Modality)
    listed = {info.key: info for info in context.store.list_many(prefixes)}
    named = pd.unique(latest[list(KEY_COLUMNS.values())].to_numpy().ravel())
    elsewhere = [key for key in named if key and not key.startswith(prefixes)]
    found = context.store.head_many(elsewhere)
    return listed | {key: info for key, info in found.items() if info is not None}


def _with_etags(latest: pd.DataFrame, listed: Mapping[str, ObjectInfo]) -> pa.Table:
    """The wanted rows: keys, and the current ETag of each object, empty where there is none."""
    etag_of = {key: info.etag for key, info in listed.items()}
    columns = {KEY: latest[KEY]} | {name: latest[name] for name in KEY_COLUMNS.values()}
    for modality, name in ETAG_COLUMNS.items():
        columns[name] = [etag_of.get(key, "") for key in latest[KEY_COLUMNS[modality]]]
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    return table.append_column("rules", pa.array([RULES] * table.num_rows, pa.int32()))


def _lost(context: StepContext, rows: pa.Table, listed: Mapping[str, ObjectInfo]) -> NDArray[np.bool_]:
    """Videos of which a required object has vanished."""
    lost = np.zeros(rows.num_rows, np.bool_)
    for modality in REQUIRED:
        lost |= missing(context.store, rows[KEY_COLUMNS[modality]], keys.embeddings_prefix(modality), listed)
    return lost


def _declared_widths(context: StepContext) -> dict[Modality, int]:
    """Widths by the first strategy that has a schema.json; empty when none has."""
    schemas = (context.fused_schema(strategy) for strategy in context.params.strategies)
    return next((schema.modality_widths for schema in schemas if schema is not None), {})
