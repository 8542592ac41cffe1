"""Probe for features that tell the target alone, by their value or by their being missing."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clipfarm_tasks.evaluation.bootstrap import spearman
from clipfarm_tasks.evaluation.leakage_report import LeakageFinding, Probe, finding

MIN_ROWS = 50
"""Fewer rows with a value tell nothing about a feature."""

_MIN_SIDE, _MIN_SHARE = 20, 0.01  # rows on each side of two groups, and their share of all
_BINS = 20
_TWO_VALUES = 2

F64 = NDArray[np.float64]


def single_features(metadata: pd.DataFrame, target: F64, limit: float) -> tuple[LeakageFinding, LeakageFinding]:
    """A leak if one feature's value explains more of the target than ``limit``; another if its being missing does.

    All statistics are of ranks, so that no monotone change of feature or target makes a difference, and 0 to 1.
    A value is judged on the rows that have it, by the largest of

    - the absolute Spearman coefficient of a number;
    - Spearman's coefficient of the target and of what a value lets one guess: the mean rank of the target among the
      other half of the rows with the same category, or in the same of 20 bins of the number. So relations that are not
      monotone are found, and a category that nobody shares tells nothing;
    - of two values alone, as of missing and present, the rank-biserial coefficient abs(2 AUC - 1): ties keep
      Spearman's below sqrt(3 p (1 - p)), 0.87 at most, even where they separate high from low targets completely.

    Limit 0.90: on 2,800 real posts the best honest feature (views of the channel over its videos) reaches 0.65, the
    likes and comments at the time of the label 0.99.

    Args:
        metadata: N rows of the feature columns; numbers are float64 with NaN, categories objects with None.
        target: (N,) float64.
        limit: largest value that is no leak, 0 to 1.
    """
    ranks = _ranks(target)
    values = {str(name): _explained(column, ranks) for name, column in metadata.items()}
    missing = {str(name): _separated(column.isna().to_numpy(), ranks) for name, column in metadata.items()}
    return (
        _finding(Probe.SINGLE_FEATURE, values, len(target), limit, "value"),
        _finding(Probe.MISSINGNESS, missing, len(target), limit, "being missing or not"),
    )


def _finding(probe: Probe, strengths: Mapping[str, float | None], n: int, limit: float, what: str) -> LeakageFinding:
    known = {name: strength for name, strength in strengths.items() if strength is not None}
    worst = sorted(known, key=lambda name: (-known[name], name))
    return finding(
        probe,
        known[worst[0]] if worst else None if n < MIN_ROWS else 0.0,
        limit,
        f"no feature whose {what} alone explains more than max_feature_explains = {limit:g} of the target (ranks)",
        "name them in exclude_features, or overrule by max_feature_explains or leakage_probes = report",
        [(name, f"{known[name]:.2f}") for name in worst if known[name] > limit],
    )


def _explained(column: "pd.Series[float]", ranks: F64) -> float | None:
    """How much of the ranks a feature's values explain; None of too few."""
    present = column.notna().to_numpy()
    if present.sum() < MIN_ROWS:
        return None
    values, ranks = column[present], ranks[present]
    codes, names = pd.factorize(values)
    if len(names) == 1:
        return 0.0
    if len(names) == _TWO_VALUES:
        separated = _separated(codes == 0, ranks)
        return 0.0 if separated is None else separated
    if not pd.api.types.is_numeric_dtype(values.dtype):
        return _guessed(codes, ranks)
    numbers = values.to_numpy(np.float64)
    bins = np.searchsorted(np.quantile(numbers, np.arange(1, _BINS) / _BINS), numbers)
    return max(abs(spearman(ranks, numbers)), _guessed(bins, ranks))


def _guessed(groups: NDArray[np.int64], ranks: F64) -> float:
    """Spearman's coefficient of the ranks and their mean in each row's group among the other half of the rows."""
    half = np.arange(len(ranks)) % 2 == 0
    guesses = np.empty(len(ranks))
    for learnt in (half, ~half):
        means = pd.Series(ranks[learnt]).groupby(groups[learnt]).mean()
        guesses[~learnt] = means.reindex(groups[~learnt]).fillna(ranks[learnt].mean()).to_numpy()
    return 0.0 if np.ptp(guesses) == 0 else spearman(ranks, guesses)


def _separated(one: NDArray[np.bool_], ranks: F64) -> float | None:
    """abs(2 AUC - 1) of two groups of rows; None where one is too small to tell."""
    n, sizes = len(ranks), (int(one.sum()), int((~one).sum()))
    if min(sizes) < max(_MIN_SIDE, _MIN_SHARE * n):
        return None
    # Mann-Whitney's U by the sum of ranks.
    auc = (_ranks(ranks)[one].sum() - sizes[0] * (sizes[0] + 1) / 2) / (sizes[0] * sizes[1])
    return float(abs(2 * auc - 1))


def _ranks(values: F64) -> F64:
    """(N,) ranks from 1; equal values share their mean rank."""
    ranks: F64 = pd.Series(values).rank().to_numpy()
    return ranks
