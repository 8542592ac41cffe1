"""What models cost to fit, to keep and to ask, and which of them no other beats at both error and serving."""

from collections.abc import Mapping, Sequence
from typing import Any

from clipfarm_tasks.config import RankMetric
from clipfarm_tasks.evaluation.ranking import sort_key

SERVING = "ms_per_1000_predictions"
FIELDS = ("fit_seconds", "fit_cpu_seconds", "process_peak_mib", SERVING, "model_bytes")
"""Of a job, under ``cost`` in its metrics_summary.json, and of a row of the comparison. They are measured, so two runs
of the same inputs differ in them; see `clipfarm_tasks.steps.measured_cost` for how."""

Cost = Mapping[str, float]


def ensemble_cost(members: Sequence[Cost]) -> dict[str, float]:
    """What a blend of models costs: all of its members, one after the other; the peak is that of the largest."""
    return {
        name: max(cost[name] for cost in members) if name == "process_peak_mib" else sum(cost[name] for cost in members)
        for name in FIELDS
    }


def pareto(rows: Sequence[Mapping[str, Any]], column: str, metric: RankMetric) -> list[bool | None]:
    """Of each row, whether no other has an error and a time to serve that are both as low and one of them lower.

    Args:
        rows: R rows with a horizon in common, with `SERVING`.
        column: of the value of the metric.
        metric: which metric that is; its direction counts.

    Returns:
        R answers, None for a row whose metric or cost is unknown: it beats nobody either.
    """
    known = {
        number: (sort_key(row[column], metric), row[SERVING])
        for number, row in enumerate(rows)
        if row[column] is not None and row[SERVING] is not None
    }

    def is_beaten(own: tuple[Any, float]) -> bool:
        return any(other[0] <= own[0] and other[1] <= own[1] and other != own for other in known.values())

    return [not is_beaten(known[number]) if number in known else None for number in range(len(rows))]
