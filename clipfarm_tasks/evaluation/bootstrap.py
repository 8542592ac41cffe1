"""How sure a metric is, and a difference between two models: the cluster bootstrap over creators.

Videos of one creator resemble each other, so they are not as many independent observations as there are rows: whole
creators are drawn with replacement (cluster bootstrap, Davison and Hinkley 1997, section 3.8), and every metric is
computed anew on the rows of each draw. All models are judged on the same draws, so that differences are paired.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from clipfarm_tasks.evaluation.metrics import F64, raw_from_log

RESAMPLES = 2_000
LEAST_CREATORS = 20
LEVEL = 0.95
METRICS = ("rmse_log", "mae_log", "r2_log", "rmse_raw", "mae_raw", "spearman")
_BLOCK = 2**18  # weights at a time: resamples x rows

Weights = NDArray[np.floating[Any]]


class Interval(NamedTuple):
    """A confidence interval, both ends included."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A model's metric less that of another, on the same rows.

    Attributes:
        interval: of the difference.
        p: two-sided: how often draws disagree with the sign that most of them have. At least 2 / (draws + 1).
    """

    interval: Interval
    p: float


def resampled_metrics(
    target_log: ArrayLike,
    predicted_log: Mapping[str, ArrayLike],
    creators: ArrayLike,
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, dict[str, F64]]:
    """The `METRICS` of every model on every draw of creators.

    Args:
        target_log: (N,) labels, log1p of views.
        predicted_log: by model, (N,) predictions of them.
        creators: (N,) whose video each row is.
        seed: of the draws; the order of the rows makes no difference to them.
        resamples: how many draws, B.

    Returns:
        By model and metric, (B,) float64: NaN where a draw leaves the metric undefined, as one whose labels are all
        equal leaves r2 and Spearman. All NaN with fewer than 20 creators: drawn anew, so few of them differ too little
        from each other, and intervals would promise what they cannot hold.
    """
    target = np.asarray(target_log, np.float64)
    cluster, names = pd.factorize(np.asarray(creators, dtype=object), sort=True)
    order = np.argsort(target, kind="stable")
    target, cluster = target[order], cluster[order]
    models = {name: np.asarray(values, np.float64)[order] for name, values in predicted_log.items()}
    if len(names) < LEAST_CREATORS:
        return {name: {metric: np.full(resamples, np.nan) for metric in METRICS} for name in models}
    centred = target - target.mean()
    columns = [np.ones_like(target), centred, centred**2]
    for predicted in models.values():
        error, error_raw = predicted - target, raw_from_log(predicted) - raw_from_log(target)
        columns += [error**2, np.abs(error), error_raw**2, np.abs(error_raw)]
    sums = np.zeros((len(names), len(columns)))
    np.add.at(sums, cluster, np.stack(columns, axis=1))
    target_ranks = _Ranks(target)
    ranks = {name: _Ranks(predicted) for name, predicted in models.items()}
    blocks: dict[str, list[F64]] = {name: [] for name in models}
    for counts in _draws(len(sums), target.size, seed, resamples):
        totals = counts @ sums
        n, y, squares = totals[:, 0], totals[:, 1], totals[:, 2]
        variation = squares - y**2 / n
        weights = counts.T.astype(np.float32)[cluster]  # exact, and ranks are half of a whole number below 2**23
        truth = target_ranks.centred(weights, n)
        for position, name in enumerate(models):
            sse, sae, sse_raw, sae_raw = totals[:, 3 + 4 * position : 7 + 4 * position].T
            with np.errstate(invalid="ignore", divide="ignore"):
                r2 = np.where(variation > 1e-12 * np.maximum(squares, 1e-300), 1 - sse / variation, np.nan)
            rho = _correlation(weights, truth, ranks[name].centred(weights, n))
            blocks[name].append(np.stack([np.sqrt(sse / n), sae / n, r2, np.sqrt(sse_raw / n), sae_raw / n, rho]))
    return {name: dict(zip(METRICS, np.concatenate(found, axis=1), strict=True)) for name, found in blocks.items()}


def resampled_rmse(
    error: ArrayLike, creators: ArrayLike, inside: NDArray[np.bool_], seed: int, resamples: int = RESAMPLES
) -> F64:
    """The RMSE of one model within each of S slices, on the same draws of creators as `resampled_metrics`.

    Args:
        error: (N,) predictions less labels.
        creators: (N,) whose video each row is.
        inside: (N, S) which rows are in each slice.
        seed: of the draws.
        resamples: how many draws, B.

    Returns:
        (B, S) float64: NaN where a draw has no row of a slice, and for slices of fewer than 20 creators.
    """
    cluster, names = pd.factorize(np.asarray(creators, dtype=object), sort=True)
    count, squares = np.zeros((2, len(names), inside.shape[1]))
    np.add.at(count, cluster, inside)
    np.add.at(squares, cluster, inside * np.square(np.asarray(error, np.float64))[:, None])
    found = np.full((resamples, inside.shape[1]), np.nan)
    enough = (count > 0).sum(axis=0) >= LEAST_CREATORS
    start = 0
    for draws in _draws(len(names), len(cluster), seed, resamples) if enough.any() else ():
        with np.errstate(invalid="ignore"):
            mean = (draws @ squares[:, enough]) / (draws @ count[:, enough])
        found[start : start + len(draws), enough] = np.sqrt(mean)
        start += len(draws)
    return found


def interval(samples: F64, level: float = LEVEL) -> Interval | None:
    """The percentile interval of (B,) resampled values; None unless more than half of them are defined."""
    defined = samples[np.isfinite(samples)]
    if 2 * defined.size <= samples.size:
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def difference(samples: F64, other: F64, level: float = LEVEL) -> Difference | None:
    """A model's (B,) resampled metric less another's on the same draws; None where it is mostly undefined."""
    found = samples - other
    within = interval(found, level)
    if within is None:
        return None
    defined = found[np.isfinite(found)]
    least = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return Difference(within, min(1.0, 2 * (least + 1) / (defined.size + 1)))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P values of several comparisons, corrected for their number (Holm 1979), by the same names."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for position, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: (item[1], item[0]))):
        largest = max(largest, min(1.0, (len(p_values) - position) * p))
        adjusted[name] = largest
    return adjusted


def spearman(target_log: ArrayLike, predicted_log: ArrayLike) -> float:
    """Spearman's rank correlation of (N,) predictions with their labels, equal values sharing their mean rank.

    NaN where all labels, or all predictions, are equal.
    """
    target, predicted = np.asarray(target_log, np.float64), np.asarray(predicted_log, np.float64)
    weights, n = np.ones((target.size, 1)), np.array([float(target.size)])
    truth, found = _Ranks(target).centred(weights, n), _Ranks(predicted).centred(weights, n)
    return float(_correlation(weights, truth, found)[0])


def _draws(clusters: int, rows: int, seed: int, resamples: int) -> Iterator[F64]:
    """(b, C) float64: how often each of C creators is in each of b draws of C creators, block by block."""
    rng = np.random.default_rng(seed)
    at_once = max(1, _BLOCK // max(1, rows, clusters))
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = rng.integers(0, clusters, (size, clusters)) + clusters * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * clusters).reshape(size, clusters).astype(np.float64)


class _Ranks:
    """Ranks of N values within any resample of their rows."""

    def __init__(self, values: F64) -> None:
        self._order = np.argsort(values, kind="stable")
        self._sorted = bool((self._order[1:] > self._order[:-1]).all())
        ordered = values[self._order]
        self._starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if values.size else np.zeros(0, int)
        is_first = np.zeros(values.size, np.int64)
        is_first[self._starts] = 1
        self._group = np.empty(values.size, np.int64)
        self._group[self._order] = np.cumsum(is_first) - 1

    def centred(self, weights: Weights, n: F64) -> Weights:
        """(N, b) mean ranks less (n + 1) / 2 for (N, b) numbers of copies of each row, n in all of each draw."""
        copies = weights.copy() if self._sorted else weights[self._order]
        if len(self._starts) < len(self._order):
            copies = np.add.reduceat(copies, self._starts, axis=0)
        ranks: NDArray[Any] = np.cumsum(copies, axis=0)
        copies *= 0.5
        ranks -= copies
        # The mean rank (n + 1) / 2, less the half by which a row's mean rank is above last - copies / 2.
        ranks -= (n / 2).astype(ranks.dtype)
        return ranks if self._sorted and len(ranks) == len(weights) else ranks[self._group]


def _correlation(weights: Weights, first: Weights, second: Weights) -> F64:
    weighted = weights * first
    with np.errstate(invalid="ignore", divide="ignore"):
        across, along = (np.einsum("nb,nb->b", weighted, other) for other in (second, first))
        scale = np.sqrt(along * np.einsum("nb,nb,nb->b", weights, second, second))
        found: NDArray[np.float64] = np.where(scale > 0, across / scale, np.nan)
    return found
