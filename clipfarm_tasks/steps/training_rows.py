"""Assemble what one training job learns from: labels, features and vectors of a pair's rows, at pinned versions."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import ManifestRecord, MetadataRecord, SplitRecord
from clipfarm_tasks.data.columns import KNOWN, Kind
from clipfarm_tasks.data.features import assert_no_feature_leakage
from clipfarm_tasks.data.metadata_report import MetadataReport
from clipfarm_tasks.documents import parse_document
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
    manifest = context.record(ManifestRecord, keys.task_id("resolve_manifest", strategy))
    rows = context.frame(split.key, split.sha256)
    spec = _report(context, labels).features
    columns = [*spec.numeric_cols, *spec.categorical_cols]
    where = f"the features of {context.store.uri(labels.report_key)}"
    assert_no_feature_leakage(columns, where)
    metadata = context.frame(labels.key, labels.sha256).set_index("video_id").loc[rows["video_id"], columns]
    inputs = ModelInputs(
        metadata=metadata.reset_index(drop=True),
        text_present=rows["text_present"].to_numpy(dtype=np.float32),
        **_vectors(context, strategy, family, rows["video_id"].to_numpy(dtype=object), split.tables),
    )
    data = TrainingData(
        rows=rows,
        features=inputs.metadata,
        lists=spec,
        leakage_columns_checked=tuple(sorted(_LEAKAGE | set(spec.excluded_leakage))),
        dropped={"metadata": labels.dropped, "manifest": manifest.dropped, **split.dropped},
        table_versions=split.tables,
    )
    return TrainingRows(inputs, rows["target_log"].to_numpy(dtype=np.float32), data)


def _report(context: StepContext, labels: MetadataRecord) -> MetadataReport:
    body = context.bytes(labels.report_key, labels.report_sha256)
    return parse_document(MetadataReport, body, context.store.uri(labels.report_key))


def _vectors(
    context: StepContext, strategy: Strategy, family: Family, ids: NDArray[np.object_], versions: dict[str, int]
) -> dict[str, F32]:
    preset = PRESETS[family]
    found: dict[str, F32] = {}
    if preset.sees_fused:
        table = VectorTable(context.store, keys.fused_table(strategy))
        found["fused"] = table.read("vector", ids, versions[keys.table_name(table.key)])
    if preset.sees_modalities:
        table = VectorTable(context.store, keys.modalities_table())
        version = versions[keys.table_name(table.key)]
        found |= {str(modality): table.read(str(modality), ids, version) for modality in Modality}
    return found
