"""What naive guesses and plain models predict, on the rows of the horizon's split that every strategy could have.

All labels, features and vectors of a horizon are in memory here, so the leakage probes look at them here too.
"""

import dataclasses
import logging
import time

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from clipfarm_tasks import keys
from clipfarm_tasks.config import SplitStrategy
from clipfarm_tasks.contracts import BaselinesRecord, MetadataRecord, VectorsRecord, VideoSplitRecord
from clipfarm_tasks.data.computed_features import NAMES as COMPUTED_NAMES
from clipfarm_tasks.data.metadata_report import MetadataReport
from clipfarm_tasks.data.split import MIN_ROWS, Part
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.leakage_report import LeakageFinding, LeakageReport, Verdict
from clipfarm_tasks.evaluation.moved_counters import moved_counters
from clipfarm_tasks.evaluation.parts_told_apart import parts_told_apart
from clipfarm_tasks.evaluation.shuffled_labels import shuffled_labels
from clipfarm_tasks.evaluation.single_features import single_features
from clipfarm_tasks.evaluation.twins import repeated_ids, twins
from clipfarm_tasks.families import Horizon, Modality
from clipfarm_tasks.models.baselines import BaselineRows, baseline_predictions, cheap_predictions
from clipfarm_tasks.models.inputs import F32
from clipfarm_tasks.steps.context import StepContext, json_bytes, parquet_bytes
from clipfarm_tasks.steps.training_rows import TIMES, may_be_learnt, metadata_cells, metadata_report, provenance_of
from clipfarm_tasks.vectors.memory_or_disk import MemoryOrDisk
from clipfarm_tasks.vectors.table import VectorTable

log = logging.getLogger(__name__)


def baselines(context: StepContext, horizon: Horizon) -> BaselinesRecord:
    """Write the predictions of every baseline for val and test: video_id, then one column for each; and the probes'.

    Raises:
        DataError: fewer than 12 videos of the split have modality vectors, or none in a part.
    """
    labels = context.record(MetadataRecord, keys.task_id("filter_metadata", horizon=horizon))
    videos = context.record(VideoSplitRecord, keys.task_id("split_videos", horizon=horizon))
    modalities = context.record(VectorsRecord, keys.task_id("reconstruct_modalities"))
    usable = context.frame(modalities.rows_key, modalities.sha256, ["video_id"])["video_id"]
    rows = context.frame(videos.key, videos.sha256)
    rows = rows[rows["video_id"].isin(usable)].reset_index(drop=True)
    sizes = {part.value: int((rows["split"] == part).sum()) for part in Part}
    if len(rows) < MIN_ROWS or not all(sizes.values()):
        raise DataError(
            f"expected at least {MIN_ROWS} labelled videos with modality vectors and some in every part, got {sizes}, "
            f"horizon {int(horizon)} days, run {context.run_id}"
        )
    report = metadata_report(context, labels)
    spec = report.features
    columns = [*spec.numeric_cols, *spec.categorical_cols]
    ids = rows["video_id"].to_numpy(dtype=object)
    metadata = metadata_cells(context, labels, ids, [*TIMES, *columns])
    known = BaselineRows(
        split=rows["split"].to_numpy(dtype=object),
        target=rows["target_log"].to_numpy(dtype=np.float64),
        provenance=provenance_of(rows["creator"], metadata),
        metadata=metadata[columns],
        vectors=_vectors(context, modalities, ids),
        learnable=_learnable(context, horizon, rows),
    )
    numeric_cols = tuple(name for name in spec.numeric_cols if name not in COMPUTED_NAMES)
    predicted = baseline_predictions(
        known, numeric_cols, spec.categorical_cols, context.params.seed, context.settings.train_threads
    )
    judged = rows[["video_id"]].assign(**{str(name): values for name, values in predicted.items()})
    judged = judged[rows["split"] != Part.TRAIN]
    key, leakage_key = keys.baselines(context.run_id, horizon), keys.leakage_report(context.run_id, horizon)
    leakage = LeakageReport(horizon=horizon, findings=_findings(context, ids, known, numeric_cols, report))
    return BaselinesRecord(
        horizon=horizon,
        key=key,
        sha256=context.put_bytes(key, parquet_bytes(judged)),
        rows=len(judged),
        leakage_key=leakage_key,
        leakage_sha256=context.put_bytes(leakage_key, json_bytes(leakage.model_dump(mode="json"))),
    )


def _findings(
    context: StepContext,
    ids: NDArray[np.object_],
    rows: BaselineRows,
    numeric_cols: tuple[str, ...],
    report: MetadataReport,
) -> tuple[LeakageFinding, ...]:
    """What every leakage probe finds; parts are told apart by their features in random splits alone."""
    params, is_test = context.params, rows.split == Part.TEST
    start = time.perf_counter()
    with threadpool_limits(context.settings.train_threads):
        found = [
            repeated_ids(ids, rows.split),
            twins(ids, rows.split, rows.vectors),
            *single_features(rows.metadata, rows.target, params.max_feature_explains),
            shuffled_labels(
                lambda target: cheap_predictions(dataclasses.replace(rows, target=target), numeric_cols),
                rows.target,
                is_test,
                params.seed,
            ),
        ]
        if params.split_strategy is SplitStrategy.RANDOM:
            found.append(parts_told_apart(rows.metadata, is_test, params.seed))
    counters = moved_counters(report, params.feature_set_version)
    found += [] if counters is None else [counters]
    log.info("%d leakage probes of %d videos in %.1f s", len(found), len(ids), time.perf_counter() - start)
    for finding in found:
        if finding.verdict is Verdict.LEAK:
            log.warning("%s: %s", finding.probe, finding.says)
    return tuple(found)


def _learnable(context: StepContext, horizon: Horizon, rows: pd.DataFrame) -> NDArray[np.bool_]:
    """(N,) what the models that are tested have learnt from."""
    learnt = (Part.TRAIN, Part.VAL) if context.params.refit else (Part.TRAIN,)
    inside: NDArray[np.bool_] = rows["split"].isin(learnt).to_numpy()
    return inside & may_be_learnt(context, horizon, rows)


def _vectors(context: StepContext, modalities: VectorsRecord, ids: NDArray[np.object_]) -> tuple[F32, ...]:
    """(N, D) float32 of each modality."""
    table = VectorTable(context.store, modalities.key)
    allocate = MemoryOrDisk(context.settings.train_memory_mib)
    found = table.read(tuple(map(str, Modality)), ids, modalities.version, allocate, modalities.table_id or None)
    return tuple(found[modality] for modality in Modality)
