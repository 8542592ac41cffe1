"""The run's leaderboard over all requested jobs: metrics_comparison.{csv,json} and best_by_mae_log.json.

Metrics of different horizons are not comparable (30-day views are larger and spread otherwise), so the best job is told
for each horizon apart, and on the videos that all its jobs have in a part: strategies differ in the videos they lost.
``overall`` answers the other question a reader has, which strategy and family to take for all
horizons: the combination with the smallest mean position over the horizons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from clipfarm_tasks.config import RankMetric
from clipfarm_tasks.evaluation.certainty import Certainty
from clipfarm_tasks.evaluation.cost import FIELDS as COST_COLUMNS
from clipfarm_tasks.evaluation.cost import Cost, pareto
from clipfarm_tasks.evaluation.json_safe import json_safe
from clipfarm_tasks.evaluation.lead import lead
from clipfarm_tasks.evaluation.ranking import METRIC_COLUMNS, PARTS, PartMetrics, flatten, sort_key
from clipfarm_tasks.families import Horizon, ModelName, Strategy
from clipfarm_tasks.run_config import RunConfig

OK = "ok"
MISSING = "missing"
COMMON = "common_"  # in front of a metric: on the rows that all jobs of the horizon have
COMMON_COLUMNS = tuple(f"{COMMON}{name}" for name in METRIC_COLUMNS)
FLAT_COLUMNS = (
    "common_test_spearman",
    *(f"common_{name}_{end}" for name in ("test_rmse_log", "skill", "difference") for end in ("low", "high")),
)
COUNT_COLUMNS = tuple(f"n_{part}" for part in PARTS)
COLUMNS = (
    "model_family",
    "fusion_strategy",
    "target_horizon_days",
    "model",
    *METRIC_COLUMNS,
    "metrics_key",
    "status",
    *COUNT_COLUMNS,
    *COMMON_COLUMNS,
    "skill",
    "difference_p",
    "against_best",
    *FLAT_COLUMNS,
    *COST_COLUMNS,
    "pareto",
)

CERTAINTY = (
    "spearman",
    "intervals",
    "skill",
    "skill_interval",
    "difference_to_best",
    "difference_p",
    "against_best",
)
"""Fields of a row of the document; see `Certainty.document`."""

_BY_RANK_METRIC = ("difference_to_best", "difference_p", "against_best", "pareto")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class JobResult:
    """One requested job and what became of it.

    Attributes:
        strategy: fusion strategy.
        horizon: days after publication.
        model: model family, or ``ensemble``.
        metrics_key: S3 key of the job's metrics_summary.json, where it is or would be.
        metrics: see `metrics_of`; None when the job has no finished snapshot; likewise the following.
        rows: how many rows it was judged on, by part (val, test).
        common: its metrics on the rows that all jobs of the horizon have, and how sure they are.
        cost: what it costs, by the names of `clipfarm_tasks.evaluation.cost`; None in runs of earlier releases too.
    """

    strategy: Strategy
    horizon: Horizon
    model: ModelName
    metrics_key: str
    metrics: PartMetrics | None
    rows: Mapping[str, int] | None = None
    common: Certainty | None = None
    cost: Cost | None = None

    @property
    def name(self) -> str:
        """The job as people call it: ``concat_7d.ridge``."""
        return f"{self.strategy}_{int(self.horizon)}d.{self.model}"


def comparison_rows(jobs: Sequence[JobResult], rank_metric: RankMetric) -> list[dict[str, Any]]:
    """One row per requested job, keys `COLUMNS`, JSON-safe.

    Ordered by horizon, then best first by the rank metric on the common rows; missing jobs, all metrics null, end each
    horizon.
    """
    rows: list[dict[str, Any]] = [
        {
            "model_family": str(job.model),
            "fusion_strategy": str(job.strategy),
            "target_horizon_days": int(job.horizon),
            "model": str(job.model),
            **json_safe(flatten(job.metrics)),
            "metrics_key": job.metrics_key,
            "status": MISSING if job.metrics is None else OK,
            **{f"n_{part}": None if job.rows is None else job.rows[part] for part in PARTS},
            **judged(job.common),
            **{name: None if job.cost is None else job.cost[name] for name in COST_COLUMNS},
        }
        for job in jobs
    ]
    for horizon in {job.horizon for job in jobs}:
        alike = [row for row in rows if row["target_horizon_days"] == horizon]
        for row, answer in zip(alike, pareto(alike, f"{COMMON}{rank_metric}", rank_metric), strict=True):
            row["pareto"] = answer
    return sorted(rows, key=lambda row: (row["target_horizon_days"], *_order(row, rank_metric)))


def _order(row: Row, metric: RankMetric) -> tuple[Any, ...]:
    value = sort_key(row[f"{COMMON}{metric}"], metric)
    return (row["status"] != OK, *value, row["fusion_strategy"], row["model"])


def judged(found: Certainty | None) -> dict[str, Any]:
    """The fields of a row that tell a model's metrics on the common rows and how sure they are, JSON-safe."""
    metrics = None if found is None else found.metrics
    fields = {f"{COMMON}{name}": value for name, value in json_safe(flatten(metrics)).items()}
    return fields | (dict.fromkeys(CERTAINTY) if found is None else found.document())


def comparison_table(rows: Sequence[Row]) -> pd.DataFrame:
    """metrics_comparison.csv: the rows with columns `COLUMNS`; a null metric is NaN (an empty cell in CSV)."""
    return pd.DataFrame([{**row, **_flat(row)} for row in rows], columns=list(COLUMNS)).astype(
        dict.fromkeys((*METRIC_COLUMNS, *COMMON_COLUMNS, *FLAT_COLUMNS, *COST_COLUMNS), "float64")
        | dict.fromkeys((*COUNT_COLUMNS, "model_bytes"), "Int64")
    )


def _flat(row: Row) -> dict[str, float | None]:
    """`FLAT_COLUMNS` of a row: those fields of the test part that a reader of the table wants."""
    pairs = {
        "test_rmse_log": ((row["intervals"] or {}).get("test") or {}).get("rmse_log"),
        "skill": row["skill_interval"],
        "difference": row["difference_to_best"],
    }
    return {
        "common_test_spearman": (row["spearman"] or {}).get("test"),
        **{
            f"common_{name}_{end}": None if pair is None else pair[at]
            for name, pair in pairs.items()
            for at, end in enumerate(("low", "high"))
        },
    }


def best_by(rows: Sequence[Row], metric: RankMetric) -> dict[str, Any]:
    """The best finished job of each horizon, and the best combination over all of them.

    Returns:
        ``{"7": row, "30": row, "overall": {...}}`` with a key for each horizon in ``rows``; null where no job of that
        horizon has the metric. ``overall`` holds metric, fusion_strategy, model, mean_rank (1 is best; mean of the
        positions within each horizon) and horizons, over the combinations that finished for every horizon; ties by
        name; null when there is none.
    """
    horizons = sorted({row["target_horizon_days"] for row in rows})
    ranked = {days: _ranked(rows, days, metric) for days in horizons}
    best: dict[str, Any] = {str(days): _alone(ranked[days][0]) if ranked[days] else None for days in horizons}
    positions: dict[tuple[str, str], list[int]] = {}
    for days in horizons:
        for position, row in enumerate(ranked[days], start=1):
            positions.setdefault((row["fusion_strategy"], row["model"]), []).append(position)
    means = {pair: sum(found) / len(found) for pair, found in positions.items() if len(found) == len(horizons)}
    if not means:
        return {**best, "overall": None}
    strategy, model = min(means, key=lambda pair: (means[pair], *pair))
    overall = {
        "metric": str(metric),
        "fusion_strategy": strategy,
        "model": model,
        "mean_rank": means[strategy, model],
        "horizons": horizons,
    }
    return {**best, "overall": overall}


def _alone(row: Row) -> dict[str, Any]:
    """A row without what compares it with others by the rank metric, which may be another metric than the one here."""
    return {name: value for name, value in row.items() if name not in _BY_RANK_METRIC}


def _ranked(rows: Sequence[Row], days: int, metric: RankMetric) -> list[Row]:
    usable = [row for row in rows if row["target_horizon_days"] == days and row[f"{COMMON}{metric}"] is not None]
    return sorted(usable, key=lambda row: _order(row, metric))


def missing_jobs(jobs: Sequence[JobResult]) -> list[str]:
    """Names of the requested jobs without a finished snapshot, in the order given."""
    return [job.name for job in jobs if job.metrics is None]


def comparison_document(
    config: RunConfig,
    snapshot_prefix: str,
    jobs: Sequence[JobResult],
    common_rows: Mapping[Horizon, Mapping[str, int]],
    baselines: Mapping[Horizon, Mapping[str, Certainty]],
    tables: Mapping[str, Mapping[str, Any]],
    temporal_checks: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """metrics_comparison.json, JSON-safe.

    Args:
        config: the run's resolved config.
        snapshot_prefix: S3 key of the folder that holds the run's snapshots.
        jobs: every requested job.
        common_rows: rows that all finished jobs of a horizon have, by part (val, test).
        baselines: by horizon and name, how the baselines do on these rows.
        tables: version and id of each vector table the run has settled, by its name.
        temporal_checks: of the pairs that have one, with target_horizon_days and fusion_strategy.

    Returns:
        ``rows_count`` counts all rows, missing ones included. ``missing_jobs`` are names, ``concat_7d.ridge``.
        ``difference_metric`` is what the rows' ``difference_to_best`` is of. ``best_by_rank_metric`` and
        ``best_by_mae_log`` (by val_mae_log: the test part never selects) as `best_by`. ``lead`` by horizon as `lead`.
    """
    rank_metric = config.params.rank_metric
    rows = comparison_rows(jobs, rank_metric)
    missing = missing_jobs(jobs)
    return {
        **_header(config, snapshot_prefix),
        "model_families": [str(model) for model in config.models],
        "rank_metric": str(rank_metric),
        "difference_metric": str(rank_metric).replace("val_", "test_"),
        "rows_count": len(rows),
        "missing_jobs_count": len(missing),
        "missing_jobs": missing,
        "common_rows": {str(int(horizon)): dict(counts) for horizon, counts in common_rows.items()},
        "baselines": {
            str(int(horizon)): [{"model": name, **judged(found)} for name, found in by_name.items()]
            for horizon, by_name in baselines.items()
        },
        "tables": {name: dict(tables[name]) for name in sorted(tables)},
        "best_by_rank_metric": best_by(rows, rank_metric),
        "temporal_checks": [dict(check) for check in temporal_checks],
        "lead_among_ties": str(config.params.lead_among_ties),
        "lead": {
            str(int(horizon)): lead(
                [row for row in rows if row["target_horizon_days"] == horizon], config.params.lead_among_ties
            )
            for horizon in config.params.horizons
        },
        "best_by_mae_log": best_by(rows, RankMetric.MAE_LOG),
        "rows": rows,
    }


def best_by_mae_log_document(config: RunConfig, snapshot_prefix: str, jobs: Sequence[JobResult]) -> dict[str, Any]:
    """best_by_mae_log.json: the comparison's ``best_by_mae_log`` under the same name, for readers of only that."""
    rows = comparison_rows(jobs, RankMetric.MAE_LOG)
    return {
        **_header(config, snapshot_prefix),
        "metric": str(RankMetric.MAE_LOG),
        "best_by_mae_log": best_by(rows, RankMetric.MAE_LOG),
    }


def _header(config: RunConfig, snapshot_prefix: str) -> dict[str, Any]:
    return {"generated_at": config.resolved_at, "run_id": config.run_id, "snapshot_prefix": snapshot_prefix}
