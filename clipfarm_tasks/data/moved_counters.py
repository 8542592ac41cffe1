"""Counts of a creator's audience that are others in the capture of the features than near the publication."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clipfarm_tasks.data.columns import Kind, kind_of, words_of
from clipfarm_tasks.data.computed_features import NAMES as COMPUTED_NAMES
from clipfarm_tasks.data.leakage_words import CREATOR, FOLLOWERS
from clipfarm_tasks.data.metadata_files import HorizonFile

_COUNTS = FOLLOWERS | {"count", "counts"}


def moved_counters(
    file: HorizonFile,
    features: Sequence[str],
    seen: NDArray[np.int64],
    nearest: NDArray[np.int64],
    compared: NDArray[np.bool_],
) -> dict[str, float]:
    """Fraction (0 to 1) of the compared videos with another value in one capture than in the other, by counter.

    Counters are the features that are named as counts or followers of a creator. A missing value is no other value.

    Args:
        file: the scanned rows of a horizon.
        features: numeric features.
        seen: (M,) position in the file of the capture that features are taken from.
        nearest: (M,) position of the capture nearest to the publication of the same video.
        compared: (M,) which videos are compared.

    Returns:
        The counters that moved in any video.
    """
    total, moved = int(compared.sum()), {}
    for name in filter(_is_counter, features) if total else ():
        column = file.column(name)
        used, first = (column.take(rows[compared]).to_numpy(zero_copy_only=False) for rows in (seen, nearest))
        differs = (used != first) & ~np.isnan(used) & ~np.isnan(first)
        if differs.any():
            moved[name] = float(differs.sum() / total)
    return moved


def _is_counter(name: str) -> bool:
    words = words_of(name)
    named = bool(words) and words[0] in CREATOR and not _COUNTS.isdisjoint(words)
    return named and name not in COMPUTED_NAMES and kind_of(name) is not Kind.BOOLEAN
