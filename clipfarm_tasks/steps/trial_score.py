"""One trial: fit on the train part, score on the val part. What selects never judges: the test part is not read."""

import dataclasses
import io

import numpy as np
import optuna

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import SplitRecord
from clipfarm_tasks.data.split import Part
from clipfarm_tasks.evaluation.metrics import regression_metrics
from clipfarm_tasks.families import Family, Horizon, Strategy
from clipfarm_tasks.models.inputs import F32
from clipfarm_tasks.models.registry import create
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.steps.train import fit_options
from clipfarm_tasks.steps.training_rows import TrainingRows, training_rows
from clipfarm_tasks.storage import Store
from clipfarm_tasks.tuning.space import recipe_with
from clipfarm_tasks.tuning.study import Score, has_preset_of_code, is_prunable


def selecting_rows(context: StepContext, strategy: Strategy, horizon: Horizon, family: Family) -> TrainingRows:
    """The train and the val part of a pair, at the versions that its run has pinned.

    Raises:
        MissingObjectError: the run has not built the pair's split.
        DataError: its working set was altered, or a table no longer has the pinned version.
    """
    split = context.record(SplitRecord, keys.task_id("build_split", strategy, horizon))
    manifest = context.frame(split.key, split.sha256)
    return training_rows(context, strategy, horizon, family, manifest=manifest[manifest["split"] != Part.TEST])


def score_of(context: StepContext, rows: TrainingRows, family: Family, study: str) -> Score:
    """What a trial is worth: the val RMSE in log space; its predictions are kept, to be compared on the same rows."""
    options = fit_options(context, rows)
    target = rows.manifest_of(Part.VAL)["target_log"]

    def score(trial: optuna.Trial, values: dict[str, float]) -> float:
        def on_epoch(epoch: int, val_rmse: float) -> None:
            trial.report(val_rmse, epoch)
            if trial.should_prune() and not has_preset_of_code(trial):
                raise optuna.TrialPruned

        model = create(family, recipe_with(family, values, f"trial {trial.number} of {study}"))
        model.fit(
            rows.inputs_of(Part.TRAIN),
            rows.target_of(Part.TRAIN),
            rows.inputs_of(Part.VAL),
            rows.target_of(Part.VAL),
            dataclasses.replace(options, on_epoch=on_epoch) if is_prunable(family) else options,
        )
        predicted = model.predict(rows.inputs_of(Part.VAL))
        found = regression_metrics(target, predicted)["rmse_log"]
        _keep(context.store, keys.trial_predictions(study, trial.number), predicted)
        return found

    return score


def predictions_of(store: Store, study: str, number: int) -> F32:
    """(V,) float32: what a complete trial has predicted for the V rows of the val part."""
    found: F32 = np.load(io.BytesIO(store.get(keys.trial_predictions(study, number))), allow_pickle=False)
    return found


def _keep(store: Store, key: str, predicted: F32) -> None:
    buffer = io.BytesIO()
    np.save(buffer, predicted, allow_pickle=False)
    store.put(key, buffer.getvalue())
