"""How a model family does when it is trained on the past and tested on the future, beside its run's own split."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipfarm_tasks.evaluation.bootstrap import interval, resampled_metrics, spearman
from clipfarm_tasks.evaluation.json_safe import json_safe
from clipfarm_tasks.evaluation.metrics import F64, regression_metrics

_METRICS = ("rmse_log", "r2_log", "spearman")


@dataclass(frozen=True)
class JudgedPart:
    """What a model predicted for a test part of N rows.

    Attributes:
        target_log: (N,) labels.
        predicted_log: (N,) predictions.
        creators: (N,) text: whose video each is.
        train_mean: mean label of the part that the model was trained on, the guess that its skill is measured by.
    """

    target_log: F64
    predicted_log: F64
    creators: NDArray[np.object_]
    train_mean: float


def compared_with_future(own: JudgedPart, future: JudgedPart, seed: int) -> dict[str, Any]:
    """JSON-safe: both tests of one family, and how much worse the future is.

    The tests have other rows, and labels of one time may spread more than those of another. So ``optimism_percent``,
    (RMSE in the future / RMSE of the run's own test - 1) * 100, tells what error to expect, but not why; ``skill``, 1 -
    RMSE / RMSE of the mean of the train part on the same rows, is what can be compared between them.

    Args:
        own: the test part of the run's split.
        future: the test part of a chronological split of the same rows.
        seed: of the resamples.

    Returns:
        ``own_test`` and ``future_test``: rmse_log, r2_log, spearman, skill, and the 95 % interval of each by a
        bootstrap over creators; ``optimism_percent`` and ``optimism_interval``, which takes the tests for independent:
        rows that both have make it a little too wide.
    """
    tests = {"own_test": _Scores(own, seed + 1), "future_test": _Scores(future, seed)}
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = tests["future_test"].samples["rmse_log"] / tests["own_test"].samples["rmse_log"]
    rmse_own, rmse_future = (tests[name].metrics["rmse_log"] for name in ("own_test", "future_test"))
    found: dict[str, Any] = json_safe(
        {
            **{name: scores.document() for name, scores in tests.items()},
            "optimism_percent": 100 * (rmse_future / rmse_own - 1) if rmse_own else None,
            "optimism_interval": interval(100 * (ratio - 1)),
        }
    )
    return found


class _Scores:
    """Metrics of one test and their values on every draw."""

    def __init__(self, tested: JudgedPart, seed: int) -> None:
        target, predicted = tested.target_log, tested.predicted_log
        mean = np.full(len(target), tested.train_mean)
        drawn = resampled_metrics(target, {"model": predicted, "mean": mean}, tested.creators, seed)
        naive = regression_metrics(target, mean)["rmse_log"]
        self.metrics = {**regression_metrics(target, predicted), "spearman": spearman(target, predicted)}
        self.metrics["skill"] = 1 - self.metrics["rmse_log"] / naive if naive else np.nan
        with np.errstate(invalid="ignore", divide="ignore"):
            skill = 1 - drawn["model"]["rmse_log"] / drawn["mean"]["rmse_log"]
        self.samples = {**drawn["model"], "skill": skill}

    def document(self) -> dict[str, Any]:
        names = (*_METRICS, "skill")
        return {
            **{name: self.metrics[name] for name in names},
            "intervals": {name: interval(self.samples[name]) for name in names},
        }
