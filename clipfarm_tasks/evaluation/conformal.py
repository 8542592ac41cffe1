"""Prediction intervals: between which views a video will most likely end, narrower where the model errs less.

Split conformal prediction with scaled residuals (Lei et al. 2018, section 5.2, locally weighted). The validation part,
on which no model was fitted, tells how far predictions of each size miss; an interval reaches as many of these
predicted spreads to both sides as hold the wanted share of the validation part. The spread of a row is learnt from
other rows than it, and all that decides is in `IntervalModel`, so that a prediction made later gets the same interval.
What it costs: the validation part has also chosen the epoch or the number of trees, so its residuals are a little
small.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipfarm_tasks.evaluation.metrics import F64, raw_from_log

LEVEL = 0.80
_ROWS_PER_BIN = 30
_MOST_BINS = 10
_PRIOR_ROWS = 20.0  # of the mean spread, mixed into each bin
_FOLDS = 5


@dataclass(frozen=True)
class IntervalModel:
    """What turns a prediction into an interval.

    Attributes:
        centres: (K,) ascending predictions in log space, the means of bins of the validation part.
        spreads: (K,) mean absolute residual of each bin, shrunk towards that of all; between the centres it is
            interpolated, beyond them it is constant.
        multiple: how many spreads the interval reaches to both sides; infinite where the validation part is too small
            to promise anything.
        level: share of videos that end inside, 0 to 1.
    """

    centres: tuple[float, ...]
    spreads: tuple[float, ...]
    multiple: float
    level: float

    def bounds_log(self, predicted_log: F64) -> tuple[F64, F64]:
        """(N,) lower and upper ends in log space for (N,) predictions."""
        reach = self.multiple * np.interp(predicted_log, self.centres, self.spreads)
        return predicted_log - reach, predicted_log + reach

    def bounds(self, predicted_log: F64) -> tuple[F64, F64]:
        """(N,) lower and upper ends in views; see `raw_from_log`."""
        low, high = self.bounds_log(predicted_log)
        return raw_from_log(low), raw_from_log(high)


def fit_intervals(target_log: F64, predicted_log: F64, level: float = LEVEL) -> IntervalModel:
    """Learn the intervals from N rows that the model was not fitted on.

    Args:
        target_log: (N,) labels.
        predicted_log: (N,) predictions.
        level: share of later videos that shall end inside, 0 to 1.
    """
    residuals = np.abs(target_log - predicted_log)
    order = np.argsort(predicted_log, kind="stable")  # equal predictions in the order of rows, not of residuals
    predicted, residuals = predicted_log[order], residuals[order]
    fold = np.arange(len(residuals)) % _FOLDS  # neighbours in size are in different folds
    scores = np.full(len(residuals), np.nan)
    for number in np.unique(fold) if len(residuals) > _FOLDS else ():
        out = fold == number
        centres, spreads = _spread(predicted[~out], residuals[~out])
        scores[out] = residuals[out] / np.interp(predicted[out], centres, spreads)
    centres, spreads = _spread(predicted, residuals)
    return IntervalModel(tuple(centres.tolist()), tuple(spreads.tolist()), _multiple(scores, level), level)


def coverage(target_log: F64, predicted_log: F64, model: IntervalModel) -> Mapping[str, float | int | None]:
    """How the intervals did on N rows: share of labels inside and median width in log space; None without a row."""
    low, high = model.bounds_log(predicted_log)
    if not len(target_log) or not math.isfinite(model.multiple):
        return {"n": len(target_log), "coverage": None, "width_log": None}
    inside = (low <= target_log) & (target_log <= high)
    return {"n": len(target_log), "coverage": float(inside.mean()), "width_log": float(np.median(high - low))}


def calibration(target_log: F64, predicted_log: F64, bins: int = 10) -> list[dict[str, float | int]]:
    """Mean prediction and mean label of N rows by tenth of the predictions: equal ones are calibrated.

    Returns:
        For each non-empty bin, from small to large: n, predicted_log, target_log.
    """
    parts = np.array_split(np.argsort(predicted_log, kind="stable"), bins)  # equal predictions in the order of rows
    return [
        {
            "n": len(rows),
            "predicted_log": float(predicted_log[rows].mean()),
            "target_log": float(target_log[rows].mean()),
        }
        for rows in parts
        if len(rows)
    ]


def _spread(predicted: F64, residuals: F64) -> tuple[F64, F64]:
    """Centres and spreads of bins of equal size, for residuals in the order of ascending predictions."""
    if not len(residuals):
        return np.zeros(1), np.ones(1)
    overall = max(float(residuals.mean()), 1e-6)  # exact predictions have an interval too
    bins = max(1, min(_MOST_BINS, len(residuals) // _ROWS_PER_BIN))
    means = np.array([part.mean() for part in np.array_split(predicted, bins)])
    centres, of = np.unique(means, return_inverse=True)  # bins of one and the same prediction are one bin
    sums = np.bincount(of, [part.sum() for part in np.array_split(residuals, bins)])
    sizes = np.bincount(of, [len(part) for part in np.array_split(residuals, bins)])
    return centres, (sums + _PRIOR_ROWS * overall) / (sizes + _PRIOR_ROWS)


def _multiple(scores: NDArray[np.float64], level: float) -> float:
    """The score that the next one does not exceed with this probability: the ceil((n + 1) level)-th smallest of n."""
    n = len(scores)
    rank = math.ceil((n + 1) * level)
    return float(np.sort(scores)[rank - 1]) if rank <= n and not np.isnan(scores).any() else math.inf
