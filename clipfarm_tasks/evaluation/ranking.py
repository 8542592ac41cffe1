"""Order of families by the run's rank metric: errors ascending, r2 descending."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from clipfarm_tasks.config import RankMetric
from clipfarm_tasks.errors import ConfigError

METRICS = ("rmse_log", "mae_log", "r2_log", "rmse_raw", "mae_raw")
PARTS = ("val", "test")

Metrics = Mapping[str, float | None]
"""The five metrics by name; None where a metric is undefined."""

PartMetrics = Mapping[str, Metrics]
"""``{"val": metrics, "test": metrics}`` of one family."""

_HIGHER_IS_BETTER = frozenset({RankMetric.R2_LOG})


def parse_rank_metric(name: str) -> RankMetric:
    """The rank metric of that name.

    Raises:
        ConfigError: the name is not a rank metric; lists the legal ones.
    """
    try:
        return RankMetric(name)
    except ValueError:
        raise ConfigError(f"expected rank_metric to be one of {[str(m) for m in RankMetric]}, got {name!r}") from None


def sort_key(value: float | None, rank_metric: RankMetric) -> tuple[bool, float]:
    """Key that sorts the best value first and an undefined one (None, NaN) last."""
    if value is None or math.isnan(value):
        return (True, 0.0)
    return (False, -value if rank_metric in _HIGHER_IS_BETTER else value)


def rank_value(metrics: PartMetrics, rank_metric: RankMetric) -> float | None:
    """One family's value of the rank metric, e.g. ``val_mae_log`` -> ``metrics["val"]["mae_log"]``."""
    part, metric = rank_metric.split("_", 1)
    return metrics[part][metric]


def rank_families(metrics: Mapping[str, PartMetrics], rank_metric: str) -> list[str]:
    """Names of the families, best first; ties by name, undefined values (None, NaN) last.

    Args:
        metrics: by family.
        rank_metric: ``val_<metric>``.

    Raises:
        ConfigError: ``rank_metric`` is unknown.
    """
    metric = parse_rank_metric(rank_metric)
    return sorted(metrics, key=lambda family: (*sort_key(rank_value(metrics[family], metric), metric), family))


def flatten(metrics: PartMetrics | None) -> dict[str, Any]:
    """The ten ``<part>_<metric>`` columns of a table, val first; all None when there are no metrics."""
    return {f"{part}_{metric}": None if metrics is None else metrics[part][metric] for part, metric in _columns()}


def _columns() -> Iterable[tuple[str, str]]:
    return ((part, metric) for part in PARTS for metric in METRICS)
