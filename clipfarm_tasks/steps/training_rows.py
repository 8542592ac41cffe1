"""Assemble what one training job learns from: labels, features and vectors of a pair's rows, at pinned versions."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import ManifestRecord, MetadataRecord, SplitRecord, VectorsRecord
from clipfarm_tasks.data.columns import KNOWN, Kind
from clipfarm_tasks.data.features import assert_no_feature_leakage
from clipfarm_tasks.data.metadata_report import read_metadata_report
from clipfarm_tasks.evaluation.reports import TrainingData
from clipfarm_tasks.families import PRESETS, Family, Horizon, Modality, Strategy
from clipfarm_tasks.models.inputs import F32, ModelInputs
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.vector_tables import VectorTable

_LEAKAGE = {name for name, kind in KNOWN.items() if kind in (Kind.LABEL, Kind.LEAKAGE)}


@dataclass(frozen=True)
class TrainingRows:
    """N rows in canonical order (video_id), and what the documents tell about them."""

    inputs: ModelInputs
    target: F32
    data: TrainingData

    def part(self, name: str) -> NDArray[np.int64]:
        """Positions of the rows of train, val or test."""
        return np.flatnonzero((self.data.rows["split"] == name).to_numpy())

    def sha256(self) -> str:
        """Digest of everything a fit sees (hex): equal digests and options give equal fits."""
        digest = hashlib.sha256()
        for name in ("video_id", "split"):
            digest.update("\n".join(self.data.rows[name]).encode())
        digest.update(self.target.tobytes())
        digest.update(self.inputs.metadata.to_json(orient="split", double_precision=15).encode())
        for modality in ("text_present", "fused", *map(str, Modality)):
            array = getattr(self.inputs, modality)
            if array is not None:
                digest.update(f"{modality}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def training_rows(context: StepContext, strategy: Strategy, horizon: Horizon, family: Family) -> TrainingRows:
    """Read the split manifest, the features and only the vectors this family sees.

    Raises:
        DataError: a leakage column is among the features.
    """
    split = context.record(SplitRecord, keys.task_id("build_split", strategy, horizon))
    labels = context.record(MetadataRecord, keys.task_id("filter_metadata", horizon=horizon))
    rows = context.frame(split.key, split.sha256)
    spec = read_metadata_report(context.store.get(labels.report_key), context.store.uri(labels.report_key)).features
    columns = [*spec.numeric_cols, *spec.categorical_cols]
    where = f"the features of {context.store.uri(labels.report_key)}"
    assert_no_feature_leakage(columns, where)
    metadata = context.frame(labels.key, labels.sha256).set_index("video_id").loc[rows["video_id"], columns]
    fused = context.record(VectorsRecord, keys.task_id("reconstruct_fused", strategy))
    modalities = context.record(VectorsRecord, keys.task_id("reconstruct_modalities"))
    inputs = ModelInputs(
        metadata=metadata.reset_index(drop=True),
        text_present=rows["text_present"].to_numpy(dtype=np.float32),
        **_vectors(context, family, rows["video_id"].to_numpy(dtype=object), fused, modalities),
    )
    manifest = context.record(ManifestRecord, keys.task_id("resolve_manifest", strategy))
    data = TrainingData(
        rows=rows,
        features=inputs.metadata,
        lists=spec,
        leakage_columns_checked=tuple(sorted(_LEAKAGE | set(spec.excluded_leakage))),
        dropped={
            "metadata": labels.dropped,
            "manifest": manifest.dropped,
            fused.table: fused.quarantined,
            modalities.table: modalities.quarantined,
            "join": split.dropped,
        },
        table_versions={fused.table: fused.version, modalities.table: modalities.version},
    )
    return TrainingRows(inputs, rows["target_log"].to_numpy(dtype=np.float32), data)


def _vectors(
    context: StepContext, family: Family, ids: NDArray[np.object_], fused: VectorsRecord, modalities: VectorsRecord
) -> dict[str, F32]:
    preset = PRESETS[family]
    found: dict[str, F32] = {}
    if preset.sees_fused:
        found["fused"] = VectorTable(context.store, fused.key).read("vector", ids, fused.version)
    if preset.sees_modalities:
        table = VectorTable(context.store, modalities.key)
        found |= {str(modality): table.read(str(modality), ids, modalities.version) for modality in Modality}
    return found
