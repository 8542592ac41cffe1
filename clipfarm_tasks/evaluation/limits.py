"""Whether a model keeps the limits of a run on slices of the test part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clipfarm_tasks.evaluation.slice_quality import INTERVAL
from clipfarm_tasks.slice_limits import SliceLimit, SliceMetric


@dataclass
class Judgement:
    """What became of the limits.

    Attributes:
        broken: one text for each that is not kept, with what was measured.
        unjudged: one for each that nothing can be said of, and why.
    """

    broken: list[str] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)


def judge(document: Mapping[str, Any], family: str, limits: Sequence[SliceLimit]) -> Judgement:
    """Compare what was measured with every limit; a slice too small to be measured keeps and breaks none.

    Args:
        document: content of slices.json; empty of a run of an earlier release.
        family: whose.
        limits: the run's.
    """
    judgement = Judgement()
    dimensions = document.get("models", {}).get(family, {}).get("test", {})
    for limit in limits:
        found = dimensions.get(limit.dimension, {}).get(limit.name)
        value = None if found is None else found.get(limit.metric)
        if value is None:
            judgement.unjudged.append(f"{limit} ({_why(dimensions, found, document, limit)})")
        elif not limit.holds(value):
            measured = f"{limit.metric} {value:.3f} ({_beside(found, limit)})"
            judgement.broken.append(f"{limit.slice} has {measured}, limit {limit}")
    return judgement


def _why(
    dimensions: Mapping[str, Any], found: Mapping[str, Any] | None, document: Mapping[str, Any], limit: SliceLimit
) -> str:
    if not dimensions:
        return "its snapshot has no slices"
    if limit.dimension not in dimensions:
        return f"the data are not sliced by {limit.dimension}: its column is no feature"
    if found is None:
        return f"no such slice, only {', '.join(dimensions[limit.dimension])}"
    if limit.metric in found:
        return "undefined there"
    return f"{found['n']} test rows, at least {document['least_rows']} needed"


def _beside(found: Mapping[str, Any], limit: SliceLimit) -> str:
    """How sure the value is, and of how many rows."""
    within = found[INTERVAL] if limit.metric is SliceMetric.RMSE_LOG else None
    return f"{'' if within is None else f'{within[0]:.3f} to {within[1]:.3f}, '}{found['n']} rows"
