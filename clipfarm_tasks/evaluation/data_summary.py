"""data_summary.json: the rows a snapshot was trained on, and every row that was dropped on the way."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.json_safe import json_safe
from clipfarm_tasks.evaluation.scope import Scope

_SPLITS = ("train", "val", "test")


def data_summary(
    scope: Scope,
    rows: pd.DataFrame,
    features: pd.DataFrame,
    numeric_cols: Sequence[str],
    dropped: Mapping[str, Mapping[str, int]],
    assembly: Mapping[str, Mapping[str, float]],
    leakage_columns_checked: Sequence[str],
) -> dict[str, Any]:
    """The document, JSON-safe. It is the same for all families of a pair, so it does not name one.

    Args:
        scope: the snapshot.
        rows: N rows of the split manifest: video_id, split, text_present, target_log, target_raw (views).
        features: the same N rows: the numeric and categorical feature columns and no other.
        numeric_cols: which of them are numeric.
        dropped: rows lost, by stage (``metadata``, ``manifest``, ...) and reason.
        assembly: what bringing each vector table up to date cost (objects, bytes, seconds, ...), by table.
        leakage_columns_checked: columns that were verified not to be features.

    Returns:
        Standard deviations are those of the population (``ddof=0``). Rates are fractions of N, 0 to 1.

    Raises:
        DataError: ``features`` and ``rows`` differ in length, or there is no row.
    """
    if len(features) != len(rows) or rows.empty:
        raise DataError(
            f"expected one feature row for each of one or more split rows, got {len(features)} feature rows and "
            f"{len(rows)} split rows, in {scope.where}"
        )
    params = scope.config.params
    days = int(scope.horizon)
    counts = rows["split"].value_counts()
    target_log = rows["target_log"].to_numpy(dtype=np.float64)
    target_raw = rows["target_raw"].to_numpy(dtype=np.float64)
    document: dict[str, Any] = json_safe(
        {
            "generated_at": scope.config.resolved_at,
            "run_id": scope.config.run_id,
            "fusion_strategy": str(scope.strategy),
            "horizon_days": days,
            "horizon_definition": f"views of a video {days} days after it was published (horizon_view_count)",
            "n_total": len(rows),
            **{f"n_{name}": counts.get(name, 0) for name in _SPLITS},
            "split_ratios": {"train": params.train_ratio, "val": params.val_ratio, "test": params.test_ratio},
            "text_present_rate": rows["text_present"].to_numpy(dtype=np.float64).mean(),
            "target_log_mean": target_log.mean(),
            "target_log_std": target_log.std(),
            "target_raw_mean": target_raw.mean(),
            "target_raw_p50": np.quantile(target_raw, 0.5),
            "target_raw_p90": np.quantile(target_raw, 0.9),
            "metadata_missing_rate": {name: features[name].isna().mean() for name in features.columns},
            "numeric_feature_stats": {name: _stats(features[name]) for name in numeric_cols},
            "leakage_columns_checked": list(leakage_columns_checked),
            "dropped": dropped,
            "assembly": assembly,
        }
    )
    return document


def _stats(column: pd.Series) -> dict[str, Any]:
    """Statistics of the finite values; all null where there is none."""
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    known = values[np.isfinite(values)]
    stats = {"n": known.size, "missing": values.size - known.size}
    if known.size == 0:
        return {**stats, **dict.fromkeys(("mean", "std", "min", "p50", "p90", "max"))}
    return {
        **stats,
        "mean": known.mean(),
        "std": known.std(),
        "min": known.min(),
        "p50": np.quantile(known, 0.5),
        "p90": np.quantile(known, 0.9),
        "max": known.max(),
    }
