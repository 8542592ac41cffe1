"""Which part each row belongs to. Rows come in canonical order: ascending video_id."""

from enum import StrEnum

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from clipfarm_tasks.config import RATIO_TOLERANCE, SplitStrategy
from clipfarm_tasks.data.captures import parse_times
from clipfarm_tasks.errors import ConfigError, DataError

MIN_ROWS = 12


class Part(StrEnum):
    """Part of a split."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


Ratios = tuple[float, float, float]


def split_rows(
    frame: pd.DataFrame, strategy: SplitStrategy, ratios: Ratios, seed: int, where: str
) -> NDArray[np.object_]:
    """Split by the chosen strategy.

    Args:
        frame: n rows in canonical order, with video_id and captured_at (ISO 8601 text, or missing).
        strategy: random or chronological.
        ratios: fractions of train, val and test; their sum is 1.
        seed: seed of the random shuffle.
        where: what is split, for messages.

    Returns:
        (n,) object: ``train``, ``val`` or ``test``.

    Raises:
        ConfigError: the ratios are not positive or do not sum to 1.
        DataError: fewer than 12 rows.
    """
    if strategy is SplitStrategy.CHRONOLOGICAL:
        captured_at, video_ids = (frame[name].to_numpy(dtype=object) for name in ("captured_at", "video_id"))
        return split_chronologically(captured_at, video_ids, ratios, where)
    return split_at_random(len(frame), ratios, seed, where)


def split_at_random(n: int, ratios: Ratios, seed: int, where: str) -> NDArray[np.object_]:
    """Split at random: ``numpy.random.default_rng(seed)`` shuffles the positions; train, val, test follow each other.

    Args:
        n: rows.
        ratios: fractions of train, val and test; their sum is 1.
        seed: seed of the shuffle.
        where: what is split, for messages.

    Returns:
        (n,) object: ``train``, ``val`` or ``test``.

    Raises:
        ConfigError: the ratios are not positive or do not sum to 1.
        DataError: fewer than 12 rows.
    """
    return _parts_in_order(np.random.default_rng(seed).permutation(n), ratios, where)


def split_chronologically(
    captured_at: NDArray[np.object_], video_ids: NDArray[np.object_], ratios: Ratios, where: str
) -> NDArray[np.object_]:
    """Split by capture time: the oldest rows train, the newest test.

    Equal times are ordered by video_id; an absent or unreadable time is older than any time.

    Args:
        captured_at: (n,) ISO 8601 text, or None.
        video_ids: (n,) text.
        ratios: fractions of train, val and test; their sum is 1.
        where: what is split, for messages.

    Returns:
        (n,) object: ``train``, ``val`` or ``test``.

    Raises:
        ConfigError: the ratios are not positive or do not sum to 1.
        DataError: fewer than 12 rows.
    """
    times = parse_times(pa.array(captured_at, pa.string(), from_pandas=True)).astype(np.int64)
    by_id = np.argsort(video_ids, kind="stable")
    return _parts_in_order(by_id[np.argsort(times[by_id], kind="stable")], ratios, where)


def _parts_in_order(order: NDArray[np.int64], ratios: Ratios, where: str) -> NDArray[np.object_]:
    n_train, n_val = _sizes(len(order), ratios, where)
    parts = np.full(len(order), str(Part.TEST), dtype=object)
    parts[order[:n_train]] = str(Part.TRAIN)
    parts[order[n_train : n_train + n_val]] = str(Part.VAL)
    return parts


def _sizes(n: int, ratios: Ratios, where: str) -> tuple[int, int]:
    """Rows of train and val: the integer part of each share, at least 1, with at least 1 left for test."""
    if min(ratios) <= 0 or abs(sum(ratios) - 1.0) > RATIO_TOLERANCE:
        shares = " + ".join(f"{ratio:g}" for ratio in ratios)
        raise ConfigError(
            f"expected positive train_ratio + val_ratio + test_ratio = 1, got {shares} = {sum(ratios):g}, in {where}"
        )
    if n < MIN_ROWS:
        raise DataError(f"expected at least {MIN_ROWS} rows to split, got {n}, in {where}")
    n_train, n_val = max(1, int(n * ratios[0])), max(1, int(n * ratios[1]))
    while n_train + n_val >= n:
        n_train, n_val = (n_train - 1, n_val) if n_train >= n_val else (n_train, n_val - 1)
    return n_train, n_val
