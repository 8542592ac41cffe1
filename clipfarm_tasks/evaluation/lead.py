"""Which job leads a horizon, where several cannot be told from the best: the best of them, or the cheapest to serve."""

from collections.abc import Mapping, Sequence
from typing import Any

from clipfarm_tasks.config import LeadAmongTies
from clipfarm_tasks.evaluation.certainty import Standing
from clipfarm_tasks.evaluation.cost import SERVING


def lead(rows: Sequence[Mapping[str, Any]], policy: LeadAmongTies) -> dict[str, Any] | None:
    """The job that leads a horizon, JSON-safe; None where no job is the best.

    NOTE: which jobs are ties is told by the test part. So the test metrics of a lead that is not the best by val are
    those of a job that the test part helped to choose, and a little optimistic.

    Args:
        rows: of one horizon, with against_best and `SERVING`.
        policy: who leads among ties.

    Returns:
        fusion_strategy, model, ``ties``: how many jobs cannot be told from the best, which is not counted, and ``why``:
        ``best by the rank metric``, ``cheapest to serve`` (of the best and its ties), or ``cost of serving unknown``,
        which leaves the best in the lead.
    """
    best = next((row for row in rows if row["against_best"] == Standing.BEST), None)
    if best is None:
        return None
    ties = [row for row in rows if row["against_best"] == Standing.TIE]
    chosen, why = best, "best by the rank metric"
    if policy is LeadAmongTies.CHEAPEST and ties:
        if any(row[SERVING] is None for row in (best, *ties)):
            why = "cost of serving unknown"
        else:
            # Of two that cost the same the first: the best, then the order of the rows.
            chosen, why = min((best, *ties), key=lambda row: float(row[SERVING])), "cheapest to serve"
    return {
        "fusion_strategy": chosen["fusion_strategy"],
        "model": chosen["model"],
        "ties": len(ties),
        "why": why,
    }
