"""Which snapshot a document belongs to: one training job's, or a pair's over all its families."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import ENSEMBLE, Family, Horizon, ModelName, Strategy
from clipfarm_tasks.run_config import RunConfig

TARGET_TRANSFORM = "log1p(horizon_view_count)"
ALL_FAMILIES = "all"


@dataclass(frozen=True)
class Scope:
    """Identity of a snapshot.

    Attributes:
        config: the run's resolved config.
        strategy: fusion strategy.
        horizon: days after publication.
        family: the job's family or ``ensemble``, or None for the pair's snapshot.
    """

    config: RunConfig
    strategy: Strategy
    horizon: Horizon
    family: ModelName | None = None

    @property
    def model_family(self) -> str:
        """The family, or ``all`` for the pair."""
        return ALL_FAMILIES if self.family is None else str(self.family)

    @property
    def where(self) -> str:
        """The snapshot in words, for messages: ``run r1, concat 7d, ridge``."""
        return f"run {self.config.run_id}, {self.strategy} {int(self.horizon)}d, {self.model_family}"

    def header(self) -> dict[str, Any]:
        """Fields every document starts with. ``generated_at`` is the run's only clock reading, so outputs repeat."""
        return {
            "generated_at": self.config.resolved_at,
            "run_id": self.config.run_id,
            "fusion_strategy": str(self.strategy),
            "target_horizon_days": int(self.horizon),
            "model_family": self.model_family,
        }


def in_family_order(names: Mapping[str, object], where: str) -> list[str]:
    """The given names of families, and of the ensemble, in their canonical order.

    Raises:
        DataError: there is none, or one is not a family.
    """
    known = [*map(str, Family), ENSEMBLE]
    unknown = sorted(name for name in names if name not in known)
    if unknown or not names:
        raise DataError(f"expected one or more of the families {known}, got {sorted(names)}, in {where}")
    return [name for name in known if name in names]
