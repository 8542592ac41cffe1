"""Choose what is tuned: families by the params, on the pair of the newest complete run that has it."""

import logging
from collections.abc import Mapping
from typing import Any

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import TuningJob, TuningParams
from clipfarm_tasks.deployment.backend import trains_in_pod
from clipfarm_tasks.errors import ConfigError, MissingObjectError
from clipfarm_tasks.steps.complete_runs import complete_runs
from clipfarm_tasks.storage import Store

log = logging.getLogger(__name__)


def plan_study(store: Store, params: Mapping[str, Any]) -> list[TuningJob]:
    """One job for each family and worker: the first worker of every family before the second of any.

    Raises:
        ConfigError: a parameter is wrong, or all families train in pods, which workers of Airflow cannot do instead.
        MissingObjectError: there is no complete run of this pair.
        TransientError: the server cannot be reached.
    """
    chosen = TuningParams.parse(params)
    families = [family for family in chosen.models if not trains_in_pod(family)]
    for family in sorted({*chosen.models} - {*families}):
        log.warning("plan_study: %s trains in pods: tune it by the command where torch is", family)
    if not families:
        raise ConfigError(
            f"expected a family that trains in workers, got {', '.join(chosen.models)}: all train in pods"
        )
    for run in complete_runs(store):
        if chosen.strategy in run.strategies and chosen.horizon in run.horizons:
            log.info("plan_study: %s on %s", ", ".join(families), run)
            return [TuningJob(run_id=run.run_id, family=family) for _ in range(chosen.workers) for family in families]
    raise MissingObjectError(
        f"expected a complete run of {chosen.strategy}, horizon {int(chosen.horizon)} days, got none, in "
        f"{store.uri(keys.RUNS)}"
    )
