"""metrics_summary.json: the ten metrics of each family of a snapshot, and which family ranks first."""

from collections.abc import Mapping
from typing import Any

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.json_safe import json_safe
from clipfarm_tasks.evaluation.ranking import METRICS, PARTS, PartMetrics, rank_families
from clipfarm_tasks.evaluation.scope import TARGET_TRANSFORM, Scope, in_family_order


def metrics_summary(scope: Scope, metrics: Mapping[str, PartMetrics]) -> dict[str, Any]:
    """The document, JSON-safe; an undefined metric is null.

    Args:
        scope: the snapshot.
        metrics: by family, for each of val and test the five metrics.

    Raises:
        DataError: no family, an unknown one, or a metric is absent.
    """
    families = in_family_order(metrics, scope.where)
    models = {family: _complete(family, metrics[family], scope.where) for family in families}
    return {
        **scope.header(),
        "trained_models": families,
        "target_transform": TARGET_TRANSFORM,
        "rank_metric": str(scope.config.params.rank_metric),
        "best_model": rank_families(models, scope.config.params.rank_metric)[0],
        "models": models,
    }


def _complete(family: str, metrics: PartMetrics, where: str) -> dict[str, dict[str, float | None]]:
    absent = [f"{part}.{name}" for part in PARTS for name in METRICS if name not in metrics.get(part, {})]
    if absent:
        raise DataError(f"expected metrics of {family} for val and test, got none for {', '.join(absent)}, in {where}")
    return {part: {name: json_safe(metrics[part][name]) for name in METRICS} for part in PARTS}


def metrics_of(document: Mapping[str, Any], family: str, where: str) -> PartMetrics:
    """One family's metrics out of a job's metrics_summary document.

    Raises:
        DataError: the document has no metrics of that family.
    """
    models = document.get("models", {})
    if family not in models:
        raise DataError(f"expected metrics of {family}, got those of {sorted(models)}, in {where}")
    return _complete(family, models[family], where)
