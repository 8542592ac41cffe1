"""Train the best family of a pair on the past of its rows and test it on their future.

Part of `publish_snapshot`: the first task that knows the best family, and one that may take its time, because of all
tasks only the leaderboard waits for it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from clipfarm_tasks import keys
from clipfarm_tasks.config import SplitStrategy
from clipfarm_tasks.contracts import MetadataRecord
from clipfarm_tasks.data.split import MIN_ROWS, Part, Unsplit, embargo_of, split_rows
from clipfarm_tasks.deployment.backend import trains_in_pod
from clipfarm_tasks.errors import ConfigError, DataError
from clipfarm_tasks.evaluation.metrics_summary import metrics_of
from clipfarm_tasks.evaluation.ranking import rank_families
from clipfarm_tasks.evaluation.reports import Documents
from clipfarm_tasks.evaluation.temporal import JudgedPart, compared_with_future
from clipfarm_tasks.families import Family, Horizon, Strategy
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.steps.train import fit_and_predict
from clipfarm_tasks.steps.training_rows import metadata_cells, training_rows


def temporal_check(
    context: StepContext, strategy: Strategy, horizon: Horizon, jobs: Mapping[str, Documents], split: pd.DataFrame
) -> dict[str, Any] | None:
    """What becomes of the pair's best single family in the future, JSON-safe; None where the run does not ask.

    Args:
        context: the run.
        strategy: of the pair.
        horizon: of the pair.
        jobs: documents of each of the pair's jobs, by model.
        split: the pair's split manifest.

    Returns:
        ``family``, ``split_strategy`` of the run, ``skipped``: why there is no answer, or null. With an answer also
        embargo_days, n_train, n_val, n_test, dropped (rows by reason), and `compared_with_future`.
    """
    params, where = context.params, f"the temporal check of {strategy}, horizon {int(horizon)} days"
    if not params.temporal_check:
        return None
    # The best single one also where the ensemble leads, which would be a fit of every family.
    metrics = {str(family): metrics_of(jobs[family].metrics_summary, family, where) for family in params.models}
    family = Family(rank_families(metrics, params.rank_metric)[0])
    told = {"family": str(family), "split_strategy": str(params.split_strategy), "skipped": None}
    if params.split_strategy is SplitStrategy.CHRONOLOGICAL:
        return told | {"skipped": "the split is chronological: the jobs' own test metrics are the answer"}
    if trains_in_pod(family):
        # The workers of such a deployment have neither the memory nor the GPU, nor torch in their image.
        return told | {"skipped": f"{family} trains in pods, and this check would train in a worker"}
    try:
        return told | _in_the_future(context, strategy, horizon, family, jobs, split)
    except (ConfigError, DataError) as error:  # the pair's jobs are complete, and must not be lost for a check of them
        return told | {"skipped": str(error)}


def _in_the_future(
    context: StepContext,
    strategy: Strategy,
    horizon: Horizon,
    family: Family,
    jobs: Mapping[str, Documents],
    split: pd.DataFrame,
) -> dict[str, Any]:
    params, where = context.params, f"the temporal check of {strategy}, horizon {int(horizon)} days"
    chronological = params.model_copy(update={"split_strategy": SplitStrategy.CHRONOLOGICAL})
    labels = context.record(MetadataRecord, keys.task_id("filter_metadata", horizon=horizon))
    ids = split["video_id"].to_numpy(dtype=object)
    captured_at = metadata_cells(context, labels, ids, ["captured_at"])["captured_at"].to_numpy()
    parts = split_rows(split.assign(captured_at=captured_at), chronological, horizon, where)
    dealt = split.assign(split=parts)
    sizes = {name: int((parts == name).sum()) for name in (*Part, *Unsplit)}
    if sizes[Part.TRAIN] < MIN_ROWS:
        raise DataError(f"expected at least {MIN_ROWS} rows to train, got {sizes[Part.TRAIN]}, in {where}")
    # The same run, but for its split: what may be learnt by a refit follows from it. No document is written from it.
    config = context.config.model_copy(update={"params": chronological})
    future = dataclasses.replace(context, config=config)
    rows = training_rows(future, strategy, horizon, family, manifest=dealt[dealt["split"].isin(list(Part))])
    predicted = fit_and_predict(future, rows, horizon, family).test
    return {
        "embargo_days": embargo_of(params, horizon),
        **{f"n_{part}": sizes[part] for part in Part},
        "dropped": {str(reason): sizes[reason] for reason in Unsplit if sizes[reason]},
        **compared_with_future(
            _own(jobs[family].predictions["test"], family, split),
            _tested(rows.manifest_of("test"), predicted, dealt),
            params.seed,
        ),
    }


def _own(predictions: pd.DataFrame, family: Family, split: pd.DataFrame) -> JudgedPart:
    rows = split.set_index("video_id").loc[predictions["video_id"]]
    return _tested(rows, predictions[f"pred_{family}_log"].to_numpy(), split)


def _tested(test: pd.DataFrame, predicted: Any, split: pd.DataFrame) -> JudgedPart:
    return JudgedPart(
        target_log=test["target_log"].to_numpy(np.float64),
        predicted_log=np.asarray(predicted, np.float64),
        creators=test["creator"].to_numpy(dtype=object),
        train_mean=float(split.loc[split["split"] == Part.TRAIN, "target_log"].mean()),
    )
