"""Blend the families of a pair: weights from their predictions of the val part, which trained none of them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import SnapshotRecord
from clipfarm_tasks.evaluation.cost import ensemble_cost
from clipfarm_tasks.evaluation.metrics import F64
from clipfarm_tasks.evaluation.predictions import ROW_COLUMNS, join_predictions, predictions_frame
from clipfarm_tasks.evaluation.ranking import PARTS
from clipfarm_tasks.evaluation.reports import Documents, ensemble_documents
from clipfarm_tasks.evaluation.scope import Scope
from clipfarm_tasks.families import ENSEMBLE, Family, Horizon, Strategy
from clipfarm_tasks.models.ensemble import FOLDS, SHRINKAGE, blend, blend_weights, cross_fitted, write_weights
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.steps.snapshot_folder import (
    download_model,
    move_files,
    read_documents,
    snapshot_record,
    write_documents,
)
from clipfarm_tasks.steps.training_rows import training_rows
from clipfarm_tasks.storage.snapshot import finish, publish
from clipfarm_tasks.storage.temporary_disk import temporary_folder


def ensemble(context: StepContext, strategy: Strategy, horizon: Horizon) -> SnapshotRecord:
    """Publish the snapshot of a pair's ensemble: the members' models, their weights, and how good they are together.

    Raises:
        DataError: a requested family has no finished snapshot, or the jobs do not belong together.
    """
    run_id, digest = context.run_id, context.config.digest
    prefix = keys.job_snapshot(run_id, ENSEMBLE, strategy, horizon)
    marker = finish(context.store, run_id, prefix, digest)
    if marker is not None:
        return snapshot_record(context, prefix, marker, reused=True)
    scope = Scope(context.config, strategy, horizon, ENSEMBLE)
    with temporary_folder("a snapshot") as temporary:
        folder = temporary / ENSEMBLE
        (folder / "models").mkdir(parents=True)
        (folder / "curves").mkdir()
        jobs: dict[str, Documents] = {}
        for family in context.params.models:
            download_model(context, strategy, horizon, family, temporary / family)
            jobs[str(family)] = read_documents(temporary / family)
            move_files(temporary / family, "models", folder)
        data = training_rows(context, strategy, horizon).data  # of no family: without vectors
        weights, predictions = _blend(jobs, data.rows.set_index("video_id")["creator"], scope.where)
        write_weights(folder / "models", weights)
        hyperparams = {"weights": weights, "shrinkage": SHRINKAGE, "folds": FOLDS}
        cost = ensemble_cost([job.metrics_summary["cost"][name] for name, job in jobs.items()])
        documents = ensemble_documents(scope, jobs, data, predictions, hyperparams).telling(cost={ENSEMBLE: cost})
        write_documents(folder, documents, data.rows)
        marker = publish(context.store, run_id, prefix, digest, folder)
    return snapshot_record(context, prefix, marker, reused=False)


def _blend(
    jobs: Mapping[str, Documents], creator: "pd.Series[str]", where: str
) -> tuple[dict[Family, float], dict[str, pd.DataFrame]]:
    """Weights by family, and the predictions frame of each part: those of val are cross-fitted."""
    parts = {
        part: join_predictions({name: job.predictions[part] for name, job in jobs.items()}, f"{part}, {where}")
        for part in PARTS
    }

    def of(part: str) -> F64:
        found: F64 = parts[part][[f"pred_{name}_log" for name in jobs]].to_numpy(np.float64)
        return found

    truth = parts["val"]["y_true_log"].to_numpy(np.float64)
    weights = blend_weights(of("val"), truth)
    blended = {
        "val": cross_fitted(of("val"), truth, creator[parts["val"]["video_id"]]),
        "test": blend(of("test").T, weights),
    }
    frames = {
        part: predictions_frame(
            parts[part][list(ROW_COLUMNS)].rename(columns={"y_true_log": "target_log", "y_true_raw": "target_raw"}),
            {ENSEMBLE: blended[part]},
        )
        for part in PARTS
    }
    return {Family(name): float(weight) for name, weight in zip(jobs, weights, strict=True)}, frames
