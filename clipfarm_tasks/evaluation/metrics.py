"""The five regression metrics: three in log space, two in views."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipfarm_tasks.errors import DataError

F64 = NDArray[np.float64]

LOG_LIMITS = (-20.0, 30.0)


def raw_from_log(values_log: ArrayLike) -> F64:
    """Views from log space: (N,) to (N,) float64, ``max(expm1(clip(v, -20, 30)), 0)``.

    The clip keeps one wild prediction, e^32 views, from deciding a raw metric or overflowing it.
    """
    views: F64 = np.maximum(np.expm1(np.clip(np.asarray(values_log, np.float64), *LOG_LIMITS)), 0.0)
    return views


def regression_metrics(target_log: ArrayLike, predicted_log: ArrayLike) -> dict[str, float]:
    """rmse_log, mae_log, r2_log (architecture, section 4 rule 7), rmse_raw and mae_raw of N predictions, in float64.

    The log metrics judge predictions as they are; the raw ones judge `raw_from_log` of both sides. As in scikit-learn,
    r2 of a single row is undefined (NaN), and when all targets are equal, it has no denominator: it is 1 for exact
    predictions and 0 for any other.

    Args:
        target_log: (N,) labels, log1p of views.
        predicted_log: (N,) predictions of them.

    Raises:
        DataError: no rows, different lengths, or a value that is not finite.
    """
    target, predicted = np.asarray(target_log, np.float64), np.asarray(predicted_log, np.float64)
    _check(target, predicted)
    error = predicted - target
    error_raw = raw_from_log(predicted) - raw_from_log(target)
    return {
        "rmse_log": _rmse(error),
        "mae_log": float(np.mean(np.abs(error))),
        "r2_log": _r2(target, error),
        "rmse_raw": _rmse(error_raw),
        "mae_raw": float(np.mean(np.abs(error_raw))),
    }


def _check(target: F64, predicted: F64) -> None:
    if target.ndim != 1 or target.shape != predicted.shape or not target.size:
        raise DataError(
            "expected targets and predictions of one shape (N,) with N >= 1, "
            f"got {target.shape} and {predicted.shape}, in regression_metrics"
        )
    for name, values in (("target_log", target), ("predicted_log", predicted)):
        bad = int((~np.isfinite(values)).sum())
        if bad:
            raise DataError(f"expected finite values, got {bad} of {len(values)} that are not, in {name}")


def _rmse(error: F64) -> float:
    return float(np.sqrt(np.mean(error**2)))


def _r2(target: F64, error: F64) -> float:
    if target.size == 1:
        return math.nan
    residual, total = float(np.sum(error**2)), float(np.sum((target - target.mean()) ** 2))
    if target.min() == target.max():
        return 1.0 if residual == 0.0 else 0.0
    return 1.0 - residual / total
