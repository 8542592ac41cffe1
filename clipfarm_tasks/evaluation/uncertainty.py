"""What metrics_summary.json tells of one family beside its metrics: how sure they are, and its prediction intervals."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from clipfarm_tasks.evaluation.bootstrap import METRICS, Interval, interval, resampled_metrics, spearman
from clipfarm_tasks.evaluation.conformal import IntervalModel, calibration, coverage
from clipfarm_tasks.evaluation.json_safe import json_safe
from clipfarm_tasks.evaluation.metrics import F64
from clipfarm_tasks.evaluation.slices import SLICES


def uncertainty(
    parts: Mapping[str, pd.DataFrame],
    creators: Mapping[str, "pd.Series[str]"],
    family: str,
    model: IntervalModel,
    seed: int,
) -> dict[str, Any]:
    """JSON-safe, by part (val, test) where it is of a part.

    Args:
        parts: predictions frames by part.
        creators: whose video each row is, by part, in the order of the frames.
        family: whose predictions to judge.
        model: its prediction intervals.
        seed: of the resamples.

    Returns:
        ``spearman``; ``intervals``: the 95 % interval [low, high] of every metric, by a bootstrap over creators;
        ``prediction_interval``: how it is made, and its coverage and median width in log space, of all rows and of
        those with and without text; ``calibration``: means of predictions and labels by tenth of the predictions.
    """
    rows = {
        part: (frame["y_true_log"].to_numpy(np.float64), frame[f"pred_{family}_log"].to_numpy(np.float64))
        for part, frame in parts.items()
    }
    found: dict[str, Any] = json_safe(
        {
            "spearman": {part: spearman(*values) for part, values in rows.items()},
            "intervals": {
                part: _intervals(target, predicted, creators[part], seed) for part, (target, predicted) in rows.items()
            },
            "prediction_interval": {
                **asdict(model),
                **{part: _coverage(frame, *rows[part], model) for part, frame in parts.items()},
            },
            "calibration": {part: calibration(*values) for part, values in rows.items()},
        }
    )
    return found


def _coverage(frame: pd.DataFrame, target: F64, predicted: F64, model: IntervalModel) -> dict[str, Any]:
    """Of all rows of a part, and of each slice of them."""
    slices = {name: (frame["text_present"] == flag).to_numpy() for name, flag in SLICES.items()}
    return {
        **coverage(target, predicted, model),
        **{name: coverage(target[inside], predicted[inside], model) for name, inside in slices.items()},
    }


def _intervals(
    target: F64,
    predicted: F64,
    creators: "pd.Series[str]",
    seed: int,
) -> dict[str, Interval | None]:
    samples = resampled_metrics(target, {"model": predicted}, creators, seed)["model"]
    return {metric: interval(samples[metric]) for metric in METRICS}
