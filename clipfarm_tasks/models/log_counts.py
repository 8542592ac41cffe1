"""Which numeric columns are heavy-tailed counts, better learnt from as log1p."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.models.inputs import known_numbers

MIN_SKEWNESS = 1.0
MAX_REMAINING = 0.9


def logged_columns(train: pd.DataFrame, numeric_cols: Sequence[str], feature_set: FeatureSet) -> tuple[str, ...]:
    """The columns to take log1p of, in the order of ``numeric_cols``; none under ``v1_training_suite``.

    A column is logged when its values in the train part (missing ones apart) are all non-negative, their skewness
    exceeds 1, and log1p takes at least a tenth of it away. The last condition leaves flags alone, whatever their rate:
    log1p of a two-valued column is an affine map, under which skewness does not change.

    Args:
        train: N rows of the train part, and of no other.
        numeric_cols: columns to choose from.
        feature_set: ``v1_training_suite`` keeps everything raw, the others choose.
    """
    if feature_set is FeatureSet.V1_TRAINING_SUITE:
        return ()
    columns = known_numbers(train, numeric_cols).T
    return tuple(name for name, values in zip(numeric_cols, columns, strict=True) if _is_heavy_tailed(values))


def with_logs(metadata: pd.DataFrame, numeric_cols: Sequence[str], is_train: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, F) float64 of these columns, log1p of those that `logged_columns` chooses by the train part; NaN if missing.

    A negative number of a logged column counts as 0: a later row may hold one.
    """
    values = known_numbers(metadata, numeric_cols)
    logged = logged_columns(metadata[is_train], numeric_cols, FeatureSet.V2_LOG_COUNTS)
    at = [position for position, name in enumerate(numeric_cols) if name in logged]
    values[:, at] = np.log1p(np.maximum(values[:, at], 0.0))
    return values


def _is_heavy_tailed(values: NDArray[np.float64]) -> bool:
    finite = values[~np.isnan(values)]  # (M,)
    if not finite.size or finite.min() < 0:
        return False
    before = skewness(finite)
    return before > MIN_SKEWNESS and abs(skewness(np.log1p(finite))) < MAX_REMAINING * before


def skewness(values: NDArray[np.float64]) -> float:
    """Fisher-Pearson coefficient g1 = m3 / m2^1.5 of (M,) finite values, biased moments; 0 when they are constant."""
    spread = values.max() - values.min()
    if spread == 0:
        return 0.0
    # Scaled by the spread first: cubes of counts of 1e12 stay far from overflow.
    centred = (values - values.mean()) / spread
    return float(np.mean(centred**3) / np.mean(centred**2) ** 1.5)
