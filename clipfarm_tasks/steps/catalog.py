"""Run a step of a resolved run by its name: what an Airflow task, a pod, a retry by hand and a test all call."""

import importlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from clipfarm_tasks import keys
from clipfarm_tasks.code_version import source_sha256
from clipfarm_tasks.config import Frozen, Settings
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import Family, Horizon, Strategy
from clipfarm_tasks.steps.context import StepContext, load_config
from clipfarm_tasks.storage import Store
from clipfarm_tasks.storage.one_heap import give_back

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Takes:
    """Which selectors a step needs (it takes no other), and whether it may run other code than resolved the run."""

    strategy: bool = False
    horizon: bool = False
    family: bool = False
    any_code: bool = False  # it only reads finished snapshots, and has to tell of them after a deployment too


STEPS: dict[str, Takes] = {
    "scan_metadata": Takes(),
    "filter_metadata": Takes(horizon=True),
    "split_videos": Takes(horizon=True),
    "resolve_manifest": Takes(strategy=True),
    "reconstruct_fused": Takes(strategy=True),
    "reconstruct_modalities": Takes(),
    "baselines": Takes(horizon=True),
    "build_split": Takes(strategy=True, horizon=True),
    "train": Takes(strategy=True, horizon=True, family=True),
    "ensemble": Takes(strategy=True, horizon=True),
    "publish_snapshot": Takes(strategy=True, horizon=True),
    "leaderboard": Takes(any_code=True),
    "gate": Takes(any_code=True),
}


def execute(
    name: str,
    store: Store,
    settings: Settings,
    run_id: str,
    strategy: Strategy | None = None,
    horizon: Horizon | None = None,
    family: Family | None = None,
) -> Frozen:
    """Run one step and keep its record in the run's working set.

    Raises:
        ConfigError: there is no such step, or a selector is missing, superfluous or not part of the run.
        MissingObjectError: the run, or a task this one builds on, has not finished.
    """
    _check_selectors(name, strategy, horizon, family)
    context = StepContext(store, settings, load_config(store, run_id))
    if not STEPS[name].any_code:
        _check_code(context)
    check_requested(context, strategy, horizon, family)
    task = keys.task_id(name, strategy, horizon, family)
    log.info("%s: start, run %s, config %s", task, run_id, context.config.digest[:12])
    start = time.perf_counter()
    chosen = {"strategy": strategy, "horizon": horizon, "family": family}
    record = _function(name)(context, **{key: value for key, value in chosen.items() if value is not None})
    store.put(keys.run_record(run_id, task), record.model_dump_json(indent=1).encode())
    give_back()
    log.info("%s: done in %.1f s: %s", task, time.perf_counter() - start, record.model_dump_json())
    return record


def _function(name: str) -> Callable[..., Frozen]:
    """The function of a step, which has the name of its module. Imported now: a step pays only for what it needs."""
    function: Callable[..., Frozen] = getattr(importlib.import_module(f"clipfarm_tasks.steps.{name}"), name)
    return function


def _check_selectors(name: str, strategy: Strategy | None, horizon: Horizon | None, family: Family | None) -> None:
    if name not in STEPS:
        raise ConfigError(f"expected a step out of resolve_run, {', '.join(STEPS)}, got {name!r}")
    takes = STEPS[name]
    given = {"strategy": strategy, "horizon": horizon, "model": family}
    needed = {"strategy": takes.strategy, "horizon": takes.horizon, "model": takes.family}
    missing = [selector for selector, need in needed.items() if need and given[selector] is None]
    extra = [selector for selector, need in needed.items() if not need and given[selector] is not None]
    if missing or extra:
        raise ConfigError(
            f"step {name}: expected {', '.join(f'--{s}' for s, need in needed.items() if need) or 'no selector'}, got "
            f"{', '.join(f'--{s}' for s, value in given.items() if value is not None) or 'none'}"
        )


def _check_code(context: StepContext) -> None:
    """One run, one code: a snapshot must not mix what two versions made."""
    resolved, running = context.config.code.source_sha256, source_sha256()
    if resolved != running:
        raise ConfigError(
            f"expected the code that resolved run {context.run_id} (source {resolved[:12]}), got source "
            f"{running[:12]}: it was changed or deployed since; clear the run from resolve_run, or start a new one"
        )


def check_requested(
    context: StepContext, strategy: Strategy | None, horizon: Horizon | None, family: Family | None
) -> None:
    """Refuse a selection that the run does not request.

    Raises:
        ConfigError: names what it requests.
    """
    params = context.params
    asked = ((strategy, params.strategies), (horizon, params.horizons), (family, params.models))
    for value, requested in asked:
        if value is not None and value not in requested:
            raise ConfigError(
                f"expected one of {', '.join(map(str, requested))}, which run {context.run_id} requests, got {value}"
            )
