"""Order of families by the run's rank metric: errors ascending, r2 descending."""

import math
from collections.abc import Mapping
from typing import Any

from clipfarm_tasks.config import RankMetric

METRICS = ("rmse_log", "mae_log", "r2_log", "rmse_raw", "mae_raw")
PARTS = ("val", "test")
METRIC_COLUMNS = tuple(f"{part}_{metric}" for part in PARTS for metric in METRICS)
"""Columns of a table of metrics: the five of val, then those of test."""

Metrics = Mapping[str, float | None]
"""The five metrics by name; None where a metric is undefined."""

PartMetrics = Mapping[str, Metrics]
"""``{"val": metrics, "test": metrics}`` of one family."""

HIGHER_IS_BETTER = frozenset({RankMetric.R2_LOG})


def sort_key(value: float | None, rank_metric: RankMetric) -> tuple[bool, float]:
    """Key that sorts the best value first and an undefined one (None, NaN) last."""
    if value is None or math.isnan(value):
        return (True, 0.0)
    return (False, -value if rank_metric in HIGHER_IS_BETTER else value)


def rank_value(metrics: PartMetrics, rank_metric: RankMetric) -> float | None:
    """One family's value of the rank metric, e.g. ``val_mae_log`` -> ``metrics["val"]["mae_log"]``."""
    part, metric = rank_metric.split("_", 1)
    return metrics[part][metric]


def rank_families(metrics: Mapping[str, PartMetrics], rank_metric: RankMetric) -> list[str]:
    """Names of the families, best first; ties by name, undefined values (None, NaN) last."""
    return sorted(metrics, key=lambda name: (*sort_key(rank_value(metrics[name], rank_metric), rank_metric), name))


def flatten(metrics: PartMetrics | None) -> dict[str, Any]:
    """The values of `METRIC_COLUMNS`, all None when there are no metrics."""
    names = ((part, metric) for part in PARTS for metric in METRICS)
    return {f"{part}_{metric}": None if metrics is None else metrics[part][metric] for part, metric in names}
