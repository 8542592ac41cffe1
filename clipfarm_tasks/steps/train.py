"""Train one family on one pair and publish its snapshot. What a retry repeats and what a pod runs."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clipfarm_tasks import keys
from clipfarm_tasks.code_version import library_versions
from clipfarm_tasks.contracts import MetadataRecord, SnapshotRecord
from clipfarm_tasks.data.leakage import assert_no_feature_leakage
from clipfarm_tasks.data.training_digest import DataSha256
from clipfarm_tasks.evaluation.importance import blocks_of, importance
from clipfarm_tasks.evaluation.predictions import predictions_frame
from clipfarm_tasks.evaluation.ranking import PARTS
from clipfarm_tasks.evaluation.reports import job_documents
from clipfarm_tasks.evaluation.scope import Scope
from clipfarm_tasks.families import PRESETS, Family, Horizon, Modality, Strategy
from clipfarm_tasks.models.family import FitOptions, FitReport, ModelFamily
from clipfarm_tasks.models.inputs import F32, ModelInputs, taken
from clipfarm_tasks.models.registry import create
from clipfarm_tasks.steps.context import StepContext, json_bytes
from clipfarm_tasks.steps.measured_cost import FitClock, measured_cost
from clipfarm_tasks.steps.snapshot_folder import download_folder, snapshot_record, write_documents
from clipfarm_tasks.steps.training_rows import (
    TrainingRows,
    family_digests,
    may_be_learnt,
    metadata_report,
    training_rows,
)
from clipfarm_tasks.storage.snapshot import finish, publish
from clipfarm_tasks.storage.success_marker import read_marker
from clipfarm_tasks.storage.temporary_disk import temporary_folder
from clipfarm_tasks.vectors.memory_or_disk import MemoryOrDisk

_FIT = "fit.json"
_IMPORTANCE = "importance.json"
_PREDICTED = "predicted.npz"


def train(context: StepContext, strategy: Strategy, horizon: Horizon, family: Family) -> SnapshotRecord:
    """Train, evaluate and publish one job; a job that is already finished is left as it is.

    Raises:
        DataError: the data break a rule, a leakage column is selected, or another run's snapshot stands here.
    """
    run_id, digest = context.run_id, context.config.digest
    prefix = keys.job_snapshot(run_id, family, strategy, horizon)
    marker = finish(context.store, run_id, prefix, digest)
    if marker is not None:
        return snapshot_record(context, prefix, marker, reused=True)
    _check_features(context, horizon)
    rows = training_rows(context, strategy, horizon, family)
    data_sha256 = family_digests(rows, rows.digests(), family)
    with temporary_folder("a snapshot") as temporary:
        fitted = temporary / "fit"
        if PRESETS[family].sees_fused:
            _fit(context, rows, horizon, family, fitted, _modality_widths(context, strategy))
        else:
            _fit_or_share(context, rows, horizon, data_sha256, family, fitted)
        folder = temporary / "snapshot"
        _write_snapshot(Scope(context.config, strategy, horizon, family), rows, data_sha256, fitted, folder)
        marker = publish(context.store, run_id, prefix, digest, folder)
    return snapshot_record(context, prefix, marker, reused=False)


def _check_features(context: StepContext, horizon: Horizon) -> None:
    """By the rules of the code that trains; they are no business of `training_rows`, which past runs are rebuilt by."""
    labels = context.record(MetadataRecord, keys.task_id("filter_metadata", horizon=horizon))
    spec = metadata_report(context, labels).features
    where = f"the features of {context.store.uri(labels.report_key)}"
    assert_no_feature_leakage([*spec.numeric_cols, *spec.categorical_cols], where, context.params.extra_features)


def _rows_to_refit(context: StepContext, rows: TrainingRows, horizon: Horizon) -> tuple[ModelInputs, F32]:
    """Train and val; of a chronological split without the labels that its embargo keeps from who is to be tested."""
    known = may_be_learnt(context, horizon, rows.data.rows)
    if known.all():
        return rows.inputs_of("train", "val"), rows.target_of("train", "val")
    chosen = np.flatnonzero(known & (rows.data.rows["split"] != "test").to_numpy())
    return taken(rows.inputs, chosen, MemoryOrDisk(0)), rows.target[chosen]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A fitted model and its predictions.

    Attributes:
        model: that predicted the test part.
        report: of the fit that val has stopped.
        saved: which rows the model has learnt from, and what it found there.
        val: (N,) float32 predictions of the val part, by the fit that has not seen it.
        test: (N,) float32 predictions of the test part.
        clock: what the fits took.
    """

    model: ModelFamily
    report: FitReport
    saved: dict[str, Any]
    val: F32
    test: F32
    clock: FitClock


def fit_and_predict(context: StepContext, rows: TrainingRows, horizon: Horizon, family: Family) -> Fitted:
    """Learn from train and val as the run's params say, and predict val and test."""
    model, options, clock = create(family), _options(context, rows), FitClock()
    with clock.running():
        report = model.fit(
            rows.inputs_of("train"), rows.target_of("train"), rows.inputs_of("val"), rows.target_of("val"), options
        )
    val = model.predict(rows.inputs_of("val"))
    saved = {"learnt_from": "train", "rows": len(rows.target_of("train"))}
    if context.params.refit and PRESETS[family].refits:
        inputs, target = _rows_to_refit(context, rows, horizon)
        with clock.running():
            found = model.refit(inputs, target, options)
        saved = {"learnt_from": "train and val", "rows": len(target), **found}
    return Fitted(model, report, saved, val, model.predict(rows.inputs_of("test")), clock)


def _modality_widths(context: StepContext, strategy: Strategy) -> Mapping[Modality, int] | None:
    """Width of each modality in the fused vector; None where it is mixed from them, or nobody has declared widths."""
    schema = context.fused_schema(strategy)
    return schema.modality_widths if schema and strategy is Strategy.CONCAT else None


def _fit(
    context: StepContext,
    rows: TrainingRows,
    horizon: Horizon,
    family: Family,
    folder: Path,
    widths: Mapping[Modality, int] | None = None,
) -> None:
    """Fit and predict; leave models/, curves/, fit.json, importance.json and the predictions in ``folder``."""
    models, curves = folder / "models", folder / "curves"
    models.mkdir(parents=True)
    curves.mkdir()
    fitted = fit_and_predict(context, rows, horizon, family)
    fitted.model.save(models)
    for name, curve in fitted.report.curves.items():
        (curves / f"{name}_curve.json").write_bytes(json_bytes(dataclasses.asdict(curve)))
    # Threads are the deployment's, not the run's, but they change the last digits: so they are told.
    told = {"saved_model": fitted.saved, "threads": context.settings.train_threads}
    held_out = rows.inputs_of("test")
    fit = {
        "hyperparams": {**fitted.report.hyperparams, **told},
        "device": fitted.report.device,
        "cost": measured_cost(fitted.clock, fitted.model, held_out, models),
    }
    (folder / _FIT).write_bytes(json_bytes(fit))
    np.savez(folder / _PREDICTED, val=fitted.val, test=fitted.test)
    blocks = blocks_of(held_out, rows.data.spec, widths)
    found = importance(fitted.model.predict, held_out, rows.target_of("test"), blocks, context.params.seed)
    (folder / _IMPORTANCE).write_bytes(json_bytes(found))


def _fit_or_share(
    context: StepContext, rows: TrainingRows, horizon: Horizon, data_sha256: DataSha256, family: Family, folder: Path
) -> None:
    """A family that does not see the fused vector fits the same for every strategy with the same rows: fit it once."""
    prefix = keys.shared_fit(context.run_id, family, data_sha256.joint)
    marker = read_marker(context.store, prefix, context.config.digest)
    if marker is None:
        _fit(context, rows, horizon, family, folder)
        marker = publish(context.store, context.run_id, prefix, context.config.digest, folder)
    # Read back in every case: of two jobs that fitted at the same time, both publish what the first one committed.
    download_folder(context.store, prefix, marker, folder)


def _write_snapshot(scope: Scope, rows: TrainingRows, data_sha256: DataSha256, fitted: Path, folder: Path) -> None:
    """The snapshot folder out of a fit: its models and curves as they are, and the documents."""
    folder.mkdir()
    for name in ("models", "curves"):
        if (fitted / name).exists():  # no folder is empty in a bucket: a shared fit without curves has none
            (fitted / name).rename(folder / name)
    (fitted / _IMPORTANCE).rename(folder / _IMPORTANCE)
    fit = json.loads((fitted / _FIT).read_text())
    with np.load(fitted / _PREDICTED, allow_pickle=False) as archive:
        predicted = {name: archive[name] for name in PARTS}
    family = str(scope.family)
    predictions = {name: predictions_frame(rows.manifest_of(name), {family: predicted[name]}) for name in PARTS}
    documents = job_documents(
        scope, rows.data, fit["hyperparams"], fit["device"], data_sha256.model_dump(), predictions, library_versions()
    )
    write_documents(folder, documents.telling(cost={family: fit["cost"]}), rows.data.rows)


def _options(context: StepContext, rows: TrainingRows) -> FitOptions:
    params = context.params
    return FitOptions(
        numeric_cols=rows.data.spec.numeric_cols,
        categorical_cols=rows.data.spec.categorical_cols,
        feature_set=params.feature_set_version,
        seed=params.seed,
        device=params.device,
        threads=context.settings.train_threads,
        max_epochs=params.max_epochs,
        patience=params.patience,
        projector_dim=params.projector_dim,
        learnt_cols=rows.learnt_cols,
    )
