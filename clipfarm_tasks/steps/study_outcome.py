"""What a study has found, beside the preset of the code on the same rows."""

from collections.abc import Iterable

from optuna.trial import TrialState

from clipfarm_tasks import keys
from clipfarm_tasks.code_version import source_sha256
from clipfarm_tasks.contracts import SplitRecord
from clipfarm_tasks.data.split import Part
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.bootstrap import difference, resampled_metrics
from clipfarm_tasks.families import Family, Horizon, Strategy
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.steps.trial_score import predictions_of
from clipfarm_tasks.tuning.preset_file import FoundPreset, TunedOn
from clipfarm_tasks.tuning.study import find_study, trial_of_code


def study_name(context: StepContext, strategy: Strategy, horizon: Horizon, family: Family) -> str:
    """The study of a family on a pair of a run, by the code that runs now."""
    return keys.tuning_study(context.run_id, strategy, horizon, family, source_sha256())


def tuned_on(context: StepContext, strategy: Strategy, horizon: Horizon) -> TunedOn:
    """The rows of the studies of a pair."""
    return TunedOn(
        run_id=context.run_id,
        config_digest=context.config.digest,
        feature_set_version=context.params.feature_set_version,
        split_strategy=context.params.split_strategy,
        seed=context.params.seed,
        strategy=strategy,
        horizon=horizon,
        source_sha256=source_sha256(),
    )


def found_presets(
    context: StepContext, strategy: Strategy, horizon: Horizon, families: Iterable[Family]
) -> tuple[dict[Family, FoundPreset], dict[Family, str]]:
    """What each family's study has found, and of the others why nobody knows: no family's find is lost for another's.

    Raises:
        DataError: nothing is known of any family.
    """
    found, unknown = {}, {}
    for family in dict.fromkeys(families):
        try:
            found[family] = found_preset(context, strategy, horizon, family)
        except DataError as error:
            unknown[family] = str(error)
    if not found:
        raise DataError("; ".join(unknown.values()))
    return found, unknown


def found_preset(context: StepContext, strategy: Strategy, horizon: Horizon, family: Family) -> FoundPreset:
    """The best trial against the one with the preset of the code, on the val part, paired.

    Raises:
        DataError: there is no study, or its trial with the preset of the code is not complete.
    """
    name = study_name(context, strategy, horizon, family)
    study = find_study(context.store, name)
    of_code = trial_of_code(study, TrialState.COMPLETE)
    if of_code is None:
        raise DataError(
            f"expected a complete trial with the preset of the code, got none of {len(study.trials)} trials, in study "
            f"{name}: go on with it, with more minutes or once its dead trial is given up"
        )
    best = study.best_trial
    split = context.record(SplitRecord, keys.task_id("build_split", strategy, horizon))
    rows = context.frame(split.key, split.sha256, ["split", "target_log", "creator"])
    val = rows[rows["split"] == Part.VAL]
    predicted = {
        side: predictions_of(context.store, name, trial.number) for side, trial in (("best", best), ("code", of_code))
    }
    resampled = resampled_metrics(val["target_log"], predicted, val["creator"], context.params.seed)
    compared = difference(resampled["best"]["rmse_log"], resampled["code"]["rmse_log"])
    scored = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return FoundPreset(
        study=name,
        trial=best.number,
        trials=len(scored),
        values=best.params,
        n_val=len(val),
        val_rmse_log=best.values[0],
        val_rmse_log_of_code=of_code.values[0],
        difference=best.values[0] - of_code.values[0],
        difference_interval=None if compared is None else compared.interval,
    )
