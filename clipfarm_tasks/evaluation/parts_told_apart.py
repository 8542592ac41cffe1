"""Probe for a test part whose features are distributed otherwise than those of the rows that are learnt from."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.inspection import permutation_importance
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from clipfarm_tasks.evaluation.leakage_report import LeakageFinding, Probe, finding
from clipfarm_tasks.evaluation.shuffled_labels import SIGMAS

_MOST_ROWS = 10_000
_MIN_ROWS = 40  # of test, and of the others

F64 = NDArray[np.float64]


def parts_told_apart(metadata: pd.DataFrame, is_test: NDArray[np.bool_], seed: int) -> LeakageFinding:
    """A leak if shallow trees tell test from the other videos by all features at once, in a random split.

    Each half of the rows is told apart by trees of the other half; the statistic is the mean of the two areas under the
    ROC curve. Of a split by chance each has mean 1/2 and variance (n + m + 1) / (12 n m) for n test and m other rows
    (Mann and Whitney 1947); the limit is `SIGMAS` standard deviations of their mean above 1/2. The features that give
    the parts away are those whose permutation costs the most area.

    Args:
        metadata: N rows of the feature columns; numbers are float64 with NaN, categories objects with None.
        is_test: (N,) whether a video is held out.
        seed: of the halves, and of the 10,000 rows that are looked at where there are more.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(is_test))[:_MOST_ROWS])
    is_test = is_test[rows]
    features = pd.DataFrame({str(name): _numbers(column.iloc[rows]) for name, column in metadata.items()})
    measured, limit = None, 1.0
    objects: list[tuple[str, str]] = []
    if len(features.columns) and min(is_test.sum(), (~is_test).sum()) >= _MIN_ROWS:
        halves = [
            _told_apart(features, is_test, learnt, judged, seed)
            for learnt, judged in StratifiedKFold(2, shuffle=True, random_state=seed).split(features, is_test)
        ]
        measured = float(np.mean([half.area for half in halves]))
        limit = float(0.5 + SIGMAS * np.sqrt(sum(half.variance for half in halves)) / len(halves))
        if measured > limit:
            objects = halves[0].given_away_by(seed)
    return finding(
        Probe.PARTS_TOLD_APART,
        measured,
        limit,
        f"trees not to tell test from the rest of a random split by its features (ROC area at most {limit:.2f})",
        "name the features in exclude_features, or overrule by leakage_probes = report",
        objects,
    )


@dataclass(frozen=True)
class _Half:
    """Rows that trees of the other half tell apart: how well, and with which variance if they cannot."""

    trees: HistGradientBoostingClassifier
    features: pd.DataFrame
    is_test: NDArray[np.bool_]
    area: float
    variance: float

    def given_away_by(self, seed: int) -> list[tuple[str, str]]:
        """The features whose permutation costs the most area and at least a tenth of that, each with what it costs."""
        costs = permutation_importance(
            self.trees, self.features, self.is_test, scoring="roc_auc", n_repeats=3, random_state=seed
        ).importances_mean
        worst = [at for at in np.argsort(-costs, kind="stable") if costs[at] >= 0.1 * costs.max()]
        return [(str(self.features.columns[at]), f"{costs[at]:.2f}") for at in worst]


def _told_apart(
    features: pd.DataFrame, is_test: NDArray[np.bool_], learnt: NDArray[np.int64], judged: NDArray[np.int64], seed: int
) -> _Half:
    trees = HistGradientBoostingClassifier(
        max_iter=30, max_leaf_nodes=8, learning_rate=0.2, max_bins=63, early_stopping=False, random_state=seed
    ).fit(features.iloc[learnt], is_test[learnt])
    half, truth = features.iloc[judged], is_test[judged]
    area = float(roc_auc_score(truth, trees.predict_proba(half)[:, 1]))
    n, m = int(truth.sum()), int((~truth).sum())
    return _Half(trees, half, truth, area, (n + m + 1) / (12 * n * m))


def _numbers(column: "pd.Series[float]") -> F64:
    """(N,) numbers for trees: categories by how frequent they are, missing below all others."""
    if not pd.api.types.is_numeric_dtype(column.dtype):
        frequency = column.value_counts()
        column = column.map({name: float(place) for place, name in enumerate(frequency.index)})
    values = column.to_numpy(np.float64)
    lowest = np.nanmin(values) if not np.isnan(values).all() else 0.0
    return np.where(np.isnan(values), lowest - 1.0, values)
