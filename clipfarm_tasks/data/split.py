"""Which part each labelled video of a horizon belongs to: one split, taken over by every strategy and family."""

import hashlib
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from clipfarm_tasks.config import RATIO_TOLERANCE, RunParams, SplitStrategy
from clipfarm_tasks.data.captures import parse_times
from clipfarm_tasks.errors import ConfigError, DataError
from clipfarm_tasks.families import Horizon

MIN_ROWS = 12


class Part(StrEnum):
    """Part of a split."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class Unsplit(StrEnum):
    """Why a video is in no part of a chronological split."""

    NO_CAPTURE_TIME = "no_capture_time"
    EMBARGO = "embargo"


Ratios = tuple[float, float, float]


def split_rows(frame: pd.DataFrame, params: RunParams, horizon: Horizon, where: str) -> NDArray[np.object_]:
    """Split the labelled videos of a horizon as the run's parameters say.

    Args:
        frame: n rows with video_id (text, each once), captured_at (text, or missing) and creator (text).
        params: split_strategy, the three ratios, seed and embargo_days.
        horizon: days; the embargo unless embargo_days says another.
        where: what is split, for messages.

    Returns:
        (n,) object: a `Part`, or an `Unsplit` reason.

    Raises:
        ConfigError: the ratios are not positive or do not sum to 1.
        DataError: fewer than 12 rows can be split, or the embargo leaves no row to train.
    """
    ratios = (params.train_ratio, params.val_ratio, params.test_ratio)
    video_ids = frame["video_id"].to_numpy(dtype=object)
    if params.split_strategy is SplitStrategy.RANDOM:
        return split_at_random(video_ids, ratios, params.seed, where)
    if params.split_strategy is SplitStrategy.CREATOR:
        creators = frame["creator"].to_numpy(dtype=object)
        return split_by_creator(creators, ratios, params.seed, where)
    embargo_days = embargo_of(params, horizon)
    return split_chronologically(frame["captured_at"].to_numpy(dtype=object), video_ids, ratios, where, embargo_days)


def embargo_of(params: RunParams, horizon: Horizon) -> int:
    """Days of the embargo: the param, or the horizon."""
    return int(horizon) if params.embargo_days is None else params.embargo_days


def split_at_random(video_ids: NDArray[np.object_], ratios: Ratios, seed: int, where: str) -> NDArray[np.object_]:
    """Split by the order of a seeded hash of each video_id: train, val and test follow each other in that order.

    Where a video stands depends on its own id alone, so a video more or less moves only videos at the two borders.

    Args:
        video_ids: (n,) text, each once.
        ratios: fractions of train, val and test; their sum is 1.
        seed: part of what is hashed.
        where: what is split, for messages.

    Returns:
        (n,) object: ``train``, ``val`` or ``test``.

    Raises:
        ConfigError: the ratios are not positive or do not sum to 1.
        DataError: fewer than 12 rows.
    """
    by_id = np.argsort(video_ids, kind="stable")
    return _parts_in_order(by_id[np.argsort(_hashes(video_ids[by_id], seed), kind="stable")], ratios, where)


def creators_of(channel_ids: "pd.Series[str]", video_ids: "pd.Series[str]") -> "pd.Series[str]":
    """(n,) text: whose video each is; one whose channel nobody knows is the only one of its creator."""
    return channel_ids.where(channel_ids.notna(), "video " + video_ids)


def split_by_creator(creators: NDArray[np.object_], ratios: Ratios, seed: int, where: str) -> NDArray[np.object_]:
    """Split by the order of a seeded hash of each creator, whose videos all go to one part.

    Args:
        creators: (n,) text; see `creators_of`.
        ratios: fractions of train, val and test; their sum is 1. Each border is between the two creators where it
            comes nearest to its fraction.
        seed: part of what is hashed.
        where: what is split, for messages.

    Returns:
        (n,) object: ``train``, ``val`` or ``test``.

    Raises:
        ConfigError: the ratios are not positive or do not sum to 1.
        DataError: fewer than 12 rows, or fewer than three creators.
    """
    n_train, n_val = _sizes(len(creators), ratios, where)
    names, creator, videos = np.unique(creators, return_inverse=True, return_counts=True)
    if len(names) < len(Part):
        raise DataError(f"expected at least {len(Part)} creators to split, got {len(names)}, in {where}")
    order = np.argsort(_hashes(names, seed), kind="stable")
    ends = np.cumsum(videos[order])
    first = int(np.abs(ends[:-2] - n_train).argmin())
    second = first + 1 + int(np.abs(ends[first + 1 : -1] - n_train - n_val).argmin())
    part_of = np.full(len(names), str(Part.TEST), dtype=object)
    part_of[order[: first + 1]] = str(Part.TRAIN)
    part_of[order[first + 1 : second + 1]] = str(Part.VAL)
    found: NDArray[np.object_] = part_of[creator]
    return found


def _hashes(names: NDArray[Any], seed: int) -> NDArray[np.uint64]:
    return np.array(
        [int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()) for name in names],
        dtype=np.uint64,
    )


def split_chronologically(
    captured_at: NDArray[np.object_],
    video_ids: NDArray[np.object_],
    ratios: Ratios,
    where: str,
    embargo_days: int = max(Horizon),
) -> NDArray[np.object_]:
    """Split by capture time: the oldest rows train, the newest test. Equal times are ordered by video_id.

    A label becomes known with its capture, and a video was published ``embargo_days`` (its horizon) before that. A row
    therefore trains only if it was captured at least that long before the first test row: then its label was known when
    the first test video was published.

    Args:
        captured_at: (n,) text, or None; see `parse_times`.
        video_ids: (n,) text.
        ratios: fractions of train, val and test among the rows with a readable time; their sum is 1.
        where: what is split, for messages.
        embargo_days: days; a caller that knows no horizon gets the longest.

    Returns:
        (n,) object: ``train``, ``val`` or ``test``; ``no_capture_time`` where there is no readable time; ``embargo``
        where the label became known too late to train.

    Raises:
        ConfigError: the ratios are not positive or do not sum to 1.
        DataError: fewer than 12 rows have a readable time, or the embargo leaves no row to train.
    """
    times = parse_times(pa.array(captured_at, pa.string(), from_pandas=True))
    parts = np.full(len(times), str(Unsplit.NO_CAPTURE_TIME), dtype=object)
    timed = np.flatnonzero(~np.isnat(times))
    by_id = np.argsort(video_ids[timed], kind="stable")
    parts[timed] = _parts_in_order(
        by_id[np.argsort(times[timed][by_id], kind="stable")],
        ratios,
        f"{where}: rows with a readable captured_at of {len(times)}",
    )
    known = known_before_test(times, parts, embargo_days)
    parts[(parts == Part.TRAIN) & ~known] = str(Unsplit.EMBARGO)
    if Part.TRAIN not in parts:
        raise DataError(
            f"expected rows captured at least {embargo_days} days (embargo_days) before the first test row, "
            f"got none to train, in {where}: all captures lie within too short a time for a chronological split"
        )
    return parts


def known_before_test(
    times: NDArray[np.datetime64], parts: NDArray[np.object_], embargo_days: int
) -> NDArray[np.bool_]:
    """(n,) whether a label was known when the first test video was published, ``embargo_days`` before its capture.

    Args:
        times: (n,) datetime64 of the captures, NaT where unknown: never known.
        parts: (n,) parts, some of them test.
        embargo_days: days between publication and capture.
    """
    known: NDArray[np.bool_] = times <= times[parts == Part.TEST].min() - np.timedelta64(embargo_days, "D")
    return known


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
