"""data_summary.json: the rows a snapshot was trained on, and every row that was dropped on the way."""

from typing import Any

import numpy as np
import pandas as pd

from clipfarm_tasks.data.columns import KNOWN, Kind
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.json_safe import json_safe
from clipfarm_tasks.evaluation.scope import Scope
from clipfarm_tasks.evaluation.training_data import TrainingData

_SPLITS = ("train", "val", "test")
_LEAKAGE_SET = [name for name, kind in KNOWN.items() if kind in (Kind.LABEL, Kind.LEAKAGE)]


def data_summary(scope: Scope, data: TrainingData) -> dict[str, Any]:
    """The document, JSON-safe. It is the same for all families of a pair, so it does not name one.

    Returns:
        Standard deviations are those of the population (``ddof=0``). Rates are fractions of all rows, 0 to 1.
        ``leakage_columns_checked`` were verified not to be features; ``unknown_columns`` tells of every column that
        the contract does not list what became of it and why. ``unreadable_cells`` counts the cells of features that
        became missing, ``unused_columns`` the cells of columns that were read and are no features, ``absent_columns``
        are features of the contract that the CSV lacks, ``unreadable_examples`` the first such cell of each column.

    Raises:
        DataError: features and rows differ in length, or there is no row.
    """
    rows, features = data.rows, data.features
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
            "numeric_feature_stats": {name: _stats(features[name]) for name in data.spec.numeric_cols},
            "leakage_columns_checked": sorted({*_LEAKAGE_SET, *data.spec.excluded_leakage}),
            "unknown_columns": data.spec.model_dump(mode="json")["unknown_columns"],
            "unreadable_cells": data.report.unreadable,
            "unreadable_examples": data.report.examples,
            "unused_columns": {name: cells.model_dump(mode="json") for name, cells in data.report.unused.items()},
            "absent_columns": list(data.report.absent),
            "dropped": data.dropped,
            "assembly": data.assembly,
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
