"""Assemble what the training jobs of a pair learn from: labels, features, vectors of its rows, at pinned versions."""

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clipfarm_tasks import keys
from clipfarm_tasks.config import SplitStrategy
from clipfarm_tasks.contracts import ManifestRecord, MetadataRecord, SplitRecord
from clipfarm_tasks.data.captures import parse_times
from clipfarm_tasks.data.metadata_report import MetadataReport
from clipfarm_tasks.data.split import Part, embargo_of, known_before_test
from clipfarm_tasks.data.training_digest import DataDigests, DataSha256, data_digests
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.training_data import TrainingData
from clipfarm_tasks.families import PRESETS, Family, Horizon, Modality, Strategy
from clipfarm_tasks.models import text_neighbours
from clipfarm_tasks.models.inputs import F32, ModelInputs
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.storage.documents import parse_document
from clipfarm_tasks.vectors.memory_or_disk import MemoryOrDisk
from clipfarm_tasks.vectors.table import VectorTable

_FUSED = "fused"
_MODALITIES = tuple(map(str, Modality))
TIMES = ("published_at", "captured_at")


@dataclass(frozen=True)
class TrainingRows:
    """N rows in training order, and what the documents tell about them.

    Training order: all train rows, then val, then test, each part by video_id. So a part of an array is a slice of it,
    and nothing is copied.

    Attributes:
        inputs: features of the N rows, with the vectors that the asked-for families see.
        target: (N,) float32 target_log.
        data: the same rows as the documents tell them.
        learnt_cols: the columns that models learn from other rows, beside those of the metadata.
    """

    inputs: ModelInputs
    target: F32
    data: TrainingData
    learnt_cols: tuple[str, ...]

    def inputs_of(self, *parts: str) -> ModelInputs:
        """Features of train, val or test, or of neighbouring parts together: views."""
        bounds = self._bounds(*parts)
        return self.inputs.slice(bounds.start, bounds.stop)

    def target_of(self, *parts: str) -> F32:
        """Targets of the same: a view."""
        return self.target[self._bounds(*parts)]

    def manifest_of(self, part: str) -> pd.DataFrame:
        """Split manifest rows of train, val or test."""
        return self.data.rows[self._bounds(part)]

    def vectors(self) -> dict[str, F32]:
        """The vector arrays that were read, by name."""
        arrays = {name: getattr(self.inputs, name) for name in (_FUSED, *_MODALITIES)}
        return {name: array for name, array in arrays.items() if array is not None}

    def digests(self) -> DataDigests:
        """Digests of everything a fit sees; reads every array once."""
        metadata = self.inputs.metadata
        if self.inputs.provenance is not None:
            provenance = self.inputs.provenance.astype(dict.fromkeys(TIMES, "int64")).add_prefix("provenance of ")
            metadata = pd.concat([metadata, provenance], axis=1)
        return data_digests(self.data.rows, metadata, self.inputs.text_present, self.vectors(), self.target)

    def _bounds(self, *parts: str) -> slice:
        inside = self.data.rows["split"].isin(parts).to_numpy()
        start = int(inside.argmax())
        return slice(start, start + int(inside.sum()))


def training_rows(
    context: StepContext,
    strategy: Strategy,
    horizon: Horizon,
    *families: Family,
    manifest: pd.DataFrame | None = None,
) -> TrainingRows:
    """Read the split manifest, the features and only the vectors these families see, each table once.

    Vectors beyond ``settings.train_memory_mib`` are memory-mapped from unnamed files in the temporary folder, which
    live as long as the arrays.

    Which columns are features is what the run recorded: rules that changed since make no difference.

    Args:
        context: the run.
        strategy: of the pair.
        horizon: of the pair.
        families: whose inputs are read.
        manifest: rows of the split manifest, dealt into other parts; None: as the run has dealt them.

    Raises:
        DataError: the working set was altered, or a table no longer has the pinned version.
        ConfigError: the temporary folder has no room.
    """
    split = context.record(SplitRecord, keys.task_id("build_split", strategy, horizon))
    labels = context.record(MetadataRecord, keys.task_id("filter_metadata", horizon=horizon))
    resolved = context.record(ManifestRecord, keys.task_id("resolve_manifest", strategy))
    rows = _in_training_order(context.frame(split.key, split.sha256) if manifest is None else manifest)
    report = metadata_report(context, labels)
    spec = report.features
    columns = [*spec.numeric_cols, *spec.categorical_cols]
    ids = rows["video_id"].to_numpy(dtype=object)
    learnt_cols = spec.learnt_cols
    cells = metadata_cells(context, labels, ids, [*columns, *(TIMES if learnt_cols else ())])
    inputs = ModelInputs(
        metadata=cells[columns],
        text_present=rows["text_present"].to_numpy(dtype=np.float32),
        provenance=provenance_of(rows["creator"], cells) if learnt_cols else None,
        **_vectors(context, strategy, families, ids, split, is_text_needed=_needs_text(learnt_cols)),
    )
    data = TrainingData(
        rows=rows,
        features=inputs.metadata,
        report=report,
        dropped={"metadata": labels.dropped, "manifest": resolved.dropped, **split.dropped},
        assembly=split.assembly,
        table_versions=split.tables,
        table_ids=split.table_ids,
    )
    return TrainingRows(inputs, rows["target_log"].to_numpy(dtype=np.float32), data, learnt_cols)


def provenance_of(creators: "pd.Series[str]", cells: pd.DataFrame) -> pd.DataFrame:
    """The provenance of N videos (see `ModelInputs.provenance`), from their creators and the cells of `TIMES`."""
    times = {name: parse_times(pa.array(cells[name], pa.string(), from_pandas=True)) for name in TIMES}
    return pd.DataFrame({"creator": creators.to_numpy(object), **times}).astype(dict.fromkeys(TIMES, "datetime64[us]"))


def metadata_report(context: StepContext, labels: MetadataRecord) -> MetadataReport:
    """What the metadata of a horizon told about itself; its features are the columns by what becomes of them."""
    body = context.bytes(labels.report_key, labels.report_sha256)
    return parse_document(MetadataReport, body, context.store.uri(labels.report_key))


def family_digests(rows: TrainingRows, digests: DataDigests, family: Family) -> DataSha256:
    """Digests of what this family sees of these rows."""
    preset = PRESETS[family]
    seen = {*(_FUSED,) * preset.sees_fused, *_MODALITIES * preset.sees_modalities}
    return digests.of(seen | {str(Modality.TEXT)} if _needs_text(rows.learnt_cols) else seen)


def _needs_text(learnt_cols: Collection[str]) -> bool:
    return bool({*learnt_cols} & {*text_neighbours.COLUMNS})


def _in_training_order(manifest: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([manifest[manifest["split"] == part] for part in Part], ignore_index=True)


def metadata_cells(
    context: StepContext, labels: MetadataRecord, ids: NDArray[np.object_], columns: list[str]
) -> pd.DataFrame:
    """These columns of these videos, in their order; of the others nothing is kept in memory.

    Raises:
        DataError: a video has no labelled row.
    """
    wanted = pa.array(ids, pa.string())
    table = pq.read_table(
        io.BytesIO(context.bytes(labels.key, labels.sha256)),
        columns=["video_id", *columns],
        filters=pc.field("video_id").isin(wanted),
    )
    position = pc.index_in(wanted, value_set=table["video_id"].combine_chunks())
    if position.null_count:
        raise DataError(
            f"expected the {len(ids)} videos of the split, got {len(ids) - position.null_count} of them, in "
            f"{context.store.uri(labels.key)}"
        )
    return table.take(position).to_pandas()[columns]  # selected here: a table without columns has no rows


def may_be_learnt(context: StepContext, horizon: Horizon, rows: pd.DataFrame) -> NDArray[np.bool_]:
    """(N,) whether who is tested on the test part may learn a label; of a chronological split, if it was known by then.

    Args:
        context: the run.
        horizon: of the rows.
        rows: N rows with video_id and split.
    """
    if context.params.split_strategy is not SplitStrategy.CHRONOLOGICAL:
        return np.ones(len(rows), np.bool_)
    labels = context.record(MetadataRecord, keys.task_id("filter_metadata", horizon=horizon))
    captured_at = metadata_cells(context, labels, rows["video_id"].to_numpy(dtype=object), ["captured_at"])
    times = parse_times(pa.array(captured_at["captured_at"], pa.string(), from_pandas=True))
    return known_before_test(times, rows["split"].to_numpy(dtype=object), embargo_of(context.params, horizon))


def _vectors(
    context: StepContext,
    strategy: Strategy,
    families: tuple[Family, ...],
    ids: NDArray[np.object_],
    split: SplitRecord,
    *,
    is_text_needed: bool,
) -> dict[str, F32]:
    allocate = MemoryOrDisk(context.settings.train_memory_mib)

    def read(key: str, columns: Sequence[str]) -> dict[str, F32]:
        name = keys.table_name(key)
        table = VectorTable(context.store, key)
        return table.read(columns, ids, split.tables[name], allocate, split.table_ids.get(name))

    found: dict[str, F32] = {}
    if any(PRESETS[family].sees_fused for family in families):
        found[_FUSED] = read(keys.fused_table(strategy), ["vector"])["vector"]
    if any(PRESETS[family].sees_modalities for family in families):
        found |= read(keys.modalities_table(), _MODALITIES)
    elif families and is_text_needed:
        found |= read(keys.modalities_table(), [Modality.TEXT])
    return found
