"""Probe for a way from the labels of the test part to the predictions for it."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from clipfarm_tasks.evaluation.bootstrap import spearman
from clipfarm_tasks.evaluation.leakage_report import LeakageFinding, Probe, finding
from clipfarm_tasks.families import Baseline

SIGMAS = 4.0
"""Standard deviations from what chance gives: one false alarm in 30,000."""

F64 = NDArray[np.float64]


def shuffled_labels(
    predict: Callable[[F64], Mapping[Baseline, F64]], target: F64, is_test: NDArray[np.bool_], seed: int
) -> LeakageFinding:
    """A leak if models that learn from shuffled labels predict those of the test part.

    Whatever a model has learnt from the other rows, its Spearman coefficient with labels in random order has mean 0 and
    variance 1 / (n - 1) exactly, for n test rows (Kendall and Gibbons, Rank Correlation Methods). More than `SIGMAS`
    standard deviations mean that it has seen the test labels.

    Args:
        predict: (N,) predictions of the N videos by model, from (N,) labels; train and test are told apart in it.
        target: (N,) float64.
        is_test: (N,) whether a video is held out.
        seed: of the order.
    """
    shuffled = np.random.default_rng(seed).permutation(target)
    found = {str(name): spearman(shuffled[is_test], values[is_test]) for name, values in predict(shuffled).items()}
    # NaN: who predicts the same for all videos has learnt nothing.
    known = {name: value for name, value in found.items() if not np.isnan(value)}
    limit = SIGMAS / np.sqrt(max(int(is_test.sum()) - 1, 1))
    worst = sorted(known, key=lambda name: -known[name])
    return finding(
        Probe.SHUFFLED_LABELS,
        known[worst[0]] if worst else None,
        float(limit),
        f"labels in random order to be predicted no better than by chance (Spearman of test at most {limit:.2f})",
        "a model sees the labels that it is tested on: do not trust this run, and report it",
        [(name, f"{known[name]:.2f}") for name in worst if known[name] > limit],
    )
