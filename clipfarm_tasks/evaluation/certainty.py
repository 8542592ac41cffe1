"""How sure the numbers of several models are that were judged on the same rows, and which of them are ties."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipfarm_tasks.config import RankMetric
from clipfarm_tasks.evaluation.bootstrap import (
    METRICS,
    Difference,
    Interval,
    difference,
    holm,
    interval,
    resampled_metrics,
    spearman,
)
from clipfarm_tasks.evaluation.json_safe import json_safe
from clipfarm_tasks.evaluation.metrics import F64, regression_metrics
from clipfarm_tasks.evaluation.ranking import HIGHER_IS_BETTER, PARTS, sort_key

SIGNIFICANT = 0.05


class Standing(StrEnum):
    """How a model stands to the best of its horizon, which the val part has chosen, on the test part."""

    BEST = "best"
    TIE = "tie"
    WORSE = "worse"
    BETTER = "better"


@dataclass(frozen=True)
class PartRows:
    """Rows of one part that every model was judged on.

    Attributes:
        target_log: (N,) labels.
        creators: (N,) text: whose video each is.
        predicted_log: by model, (N,) predictions.
    """

    target_log: F64
    creators: NDArray[np.object_]
    predicted_log: Mapping[str, F64]


@dataclass(frozen=True)
class Certainty:
    """How sure one model's numbers are.

    Attributes:
        metrics: by part (val, test), the five metrics and Spearman; None where one is undefined.
        intervals: by part and metric, the 95 % interval; None where there is none.
        skill: 1 - RMSE / RMSE of the best naive baseline, in log space on the test part; with its interval.
        difference: from the best model, of the metric that ranks, on the test part; None for the best itself. Its
            interval is that of this one difference; the standing is corrected for the number of models.
        p: of that difference, corrected for the number of models (Holm); None likewise, and for a baseline.
        standing: how it stands to the best model; None where the rows cannot tell.
    """

    metrics: Mapping[str, Mapping[str, float | None]]
    intervals: Mapping[str, Mapping[str, Interval | None]]
    skill: tuple[float, Interval | None] | None
    difference: Difference | None
    p: float | None
    standing: Standing | None

    def document(self) -> dict[str, Any]:
        """JSON-safe: intervals as [low, high]."""
        return {
            "spearman": {part: values["spearman"] for part, values in self.metrics.items()},
            "intervals": json_safe(self.intervals),
            "skill": None if self.skill is None else self.skill[0],
            "skill_interval": None if self.skill is None else json_safe(self.skill[1]),
            "difference_to_best": None if self.difference is None else json_safe(self.difference.interval),
            "difference_p": self.p,
            "against_best": None if self.standing is None else str(self.standing),
        }


def certainties(
    parts: Mapping[str, PartRows], candidates: Collection[str], naive: Collection[str], metric: RankMetric, seed: int
) -> dict[str, Certainty]:
    """Judge models on common rows.

    The best candidate is the one that the rank metric puts first on the val part; how it compares is then told by the
    test part, which selected nothing.

    Args:
        parts: rows of val and of test, with predictions of the same models.
        candidates: names of the models of which one is the best; the others are judged beside them.
        naive: names of the naive baselines; of several the one with the smallest val RMSE is the measure of skill.
        metric: the run's rank metric.
        seed: of the resamples.

    Returns:
        By the name of the model.
    """
    names = list(parts["test"].predicted_log)
    samples = {
        part: resampled_metrics(rows.target_log, rows.predicted_log, rows.creators, seed)
        for part, rows in parts.items()
        if len(rows.target_log)
    }
    metrics = {name: {part: _metrics(parts[part], name) for part in PARTS} for name in names}
    ranked = sorted(candidates, key=lambda name: (*sort_key(_of(metrics[name], metric), metric), name))
    best = ranked[0] if ranked and _of(metrics[ranked[0]], metric) is not None else None
    test, column = samples.get("test", {}), metric.split("_", 1)[1]
    differences = {
        name: difference(test[name][column], test[best][column]) for name in names if best and name != best and test
    }
    p = holm({name: found.p for name, found in differences.items() if found is not None and name in candidates})
    measure = min(
        (name for name in naive if name in metrics),
        key=lambda name: sort_key(metrics[name]["val"]["rmse_log"], RankMetric.RMSE_LOG),
        default=None,
    )
    return {
        name: Certainty(
            metrics=metrics[name],
            intervals={
                part: {key: interval(samples[part][name][key]) if part in samples else None for key in METRICS}
                for part in PARTS
            },
            skill=_skill(name, measure, metrics, test),
            difference=differences.get(name),
            p=p.get(name),
            standing=Standing.BEST if name == best else _standing(p.get(name), differences.get(name), metric),
        )
        for name in names
    }


def _standing(p: float | None, found: Difference | None, metric: RankMetric) -> Standing | None:
    if p is None or found is None:
        return None
    if p >= SIGNIFICANT:
        return Standing.TIE
    # The side of 0 that most draws are on is the side of the middle of the interval.
    is_larger = found.interval.low + found.interval.high > 0
    return Standing.BETTER if is_larger == (metric in HIGHER_IS_BETTER) else Standing.WORSE


def _metrics(rows: PartRows, name: str) -> dict[str, float | None]:
    if not len(rows.target_log):
        return dict.fromkeys(METRICS)
    predicted = rows.predicted_log[name]
    found = {**regression_metrics(rows.target_log, predicted), "spearman": spearman(rows.target_log, predicted)}
    return {key: value if np.isfinite(value) else None for key, value in found.items()}


def _of(metrics: Mapping[str, Mapping[str, float | None]], metric: RankMetric) -> float | None:
    part, column = metric.split("_", 1)
    return metrics[part][column]


def _skill(
    name: str,
    measure: str | None,
    metrics: Mapping[str, Mapping[str, Mapping[str, float | None]]],
    samples: Mapping[str, Mapping[str, F64]],
) -> tuple[float, Interval | None] | None:
    if measure is None or not samples:
        return None
    own, other = metrics[name]["test"]["rmse_log"], metrics[measure]["test"]["rmse_log"]
    if own is None or not other:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = 1 - samples[name]["rmse_log"] / samples[measure]["rmse_log"]
    return 1 - own / other, interval(resampled)
