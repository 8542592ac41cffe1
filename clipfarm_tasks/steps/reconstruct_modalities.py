"""Bring the video, audio and text vectors of all strategies' videos into one table: fetch only what changed."""

import logging
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import ManifestRecord, VectorsRecord
from clipfarm_tasks.data.losses import check_text
from clipfarm_tasks.errors import DataError, MissingObjectError
from clipfarm_tasks.families import Modality
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.steps.record_vectors import record_vectors
from clipfarm_tasks.steps.resolve_manifest import resolve_manifest
from clipfarm_tasks.steps.settled_vectors import settled_vectors
from clipfarm_tasks.vectors.fetch_modalities import ETAG_COLUMNS, KEY_COLUMNS, fetch_modalities
from clipfarm_tasks.vectors.listed import Listed
from clipfarm_tasks.vectors.meter import Meter
from clipfarm_tasks.vectors.modality_rows import REQUIRED
from clipfarm_tasks.vectors.quarantine import RULES
from clipfarm_tasks.vectors.table import KEY, VectorTable
from clipfarm_tasks.vectors.update import Held, Source, update_table
from clipfarm_tasks.vectors.upstream_keys import UpstreamKeys

log = logging.getLogger(__name__)
_TASK = keys.task_id("reconstruct_modalities")


def reconstruct_modalities(context: StepContext) -> VectorsRecord:
    """Verify and merge new and changed modality vectors; returns a table version that holds all usable videos.

    A version that an earlier attempt has settled stays the run's.

    Raises:
        DataError: too many videos are unusable, or none is usable; or too many text vectors are lost.
        MissingObjectError: no strategy of the run has a resolved manifest.
    """
    settled = settled_vectors(context, _TASK)
    if settled is not None:
        return settled
    table = VectorTable(context.store, keys.modalities_table())
    meter = Meter(context.store)
    declared = _declared_widths(context)
    latest = _latest(context)
    folders = [keys.embeddings_prefix(modality) for modality in Modality]
    upstream = UpstreamKeys(context.settings.upstream_prefixes)
    named = {name: upstream.inside(latest[name]) for name in KEY_COLUMNS.values()}
    listed = Listed.of(context.store, folders, named.values())

    def fetch(new: pa.Table, held: Held) -> Iterator[pa.RecordBatch]:
        return fetch_modalities(context.store, table, new, held, listed, declared, upstream, meter)

    def is_gone(rows: pa.Table) -> NDArray[np.bool_]:
        return _lost(context, rows, listed)

    wanted = _with_etags(latest, named, listed)
    widths = {str(modality): width for modality, width in declared.items()}
    updated = update_table(table, Source(wanted, ["text_present"], widths, fetch, is_gone))
    usable = updated.rows
    without = pc.and_(pc.not_equal(usable[KEY_COLUMNS[Modality.TEXT]], ""), pc.equal(usable["text_present"], 0))
    record = record_vectors(
        context,
        table.key,
        updated,
        usable.select([KEY, "text_present"]),
        meter,
        text_present=int(pc.sum(usable["text_present"]).as_py()),
        text_missing=int(pc.sum(without).as_py()),
    )
    check_text(
        record.text_present,
        record.text_present + record.text_missing,
        record.rows,
        context.config.text_present_before,
        context.params.max_text_loss,
        table.uri,
    )
    return context.settle(_TASK, record)


def _latest(context: StepContext) -> pa.Table:
    """Keys by video over the strategies whose manifest can be resolved; the latest capture names them.

    What a run settles must not depend on which task had failed when: a strategy is left out only if its manifest, as
    the run has pinned it, is absent or breaks a rule.
    """
    columns = [KEY, "captured_at", *KEY_COLUMNS.values(), "text_present"]
    tables = []
    for strategy in context.params.strategies:
        record = context.standing(ManifestRecord, keys.task_id("resolve_manifest", strategy))
        try:
            record = record or resolve_manifest(context, strategy)
        except DataError as error:
            log.warning("reconstruct_modalities goes on without strategy %s: %s", strategy, error)
            continue
        tables.append(context.table(record.key, record.sha256, columns))
    if not tables:
        raise MissingObjectError(
            f"expected a resolved manifest of one of {', '.join(context.params.strategies)}, got none in run "
            f"{context.run_id}"
        )
    union = pa.concat_tables(tables).combine_chunks()
    # Stable sort: strategies that agree on the time keep their canonical order, so the result is deterministic.
    union = union.take(pc.sort_indices(union, [(KEY, "ascending"), ("captured_at", "ascending", "at_start")]))
    last = np.append(pc.not_equal(union[KEY][1:], union[KEY][:-1]).to_numpy(), True)
    latest = union.filter(pa.array(last))
    named = {name: pc.fill_null(latest[name], "") for name in KEY_COLUMNS.values()}
    text = KEY_COLUMNS[Modality.TEXT]
    named[text] = pc.if_else(pc.equal(latest["text_present"], 0), "", named[text])
    return pa.table({KEY: latest[KEY], **named})


def _with_etags(latest: pa.Table, named: Mapping[str, pa.ChunkedArray], listed: Listed) -> pa.Table:
    """The wanted rows: keys, and the current ETag of each object, empty where there is none or it is not upstream's."""
    columns = dict(zip(latest.column_names, latest.columns, strict=True))
    for modality, name in ETAG_COLUMNS.items():
        columns[name] = listed.etags(named[KEY_COLUMNS[modality]])
    return pa.table(columns | {"rules": pa.repeat(pa.scalar(RULES, pa.int32()), len(latest))})


def _lost(context: StepContext, rows: pa.Table, listed: Listed) -> NDArray[np.bool_]:
    """Videos of which a required object has vanished."""
    lost = np.zeros(rows.num_rows, np.bool_)
    for modality in REQUIRED:
        lost |= listed.missing(context.store, rows[KEY_COLUMNS[modality]], keys.embeddings_prefix(modality))
    return lost


def _declared_widths(context: StepContext) -> dict[Modality, int]:
    """Widths by the first strategy that has a schema.json; empty when none has."""
    schemas = (context.fused_schema(strategy) for strategy in context.params.strategies)
    return next((schema.modality_widths for schema in schemas if schema is not None), {})
