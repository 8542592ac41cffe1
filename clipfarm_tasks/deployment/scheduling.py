"""How tasks share the machines and try again: retries of all, pool, weight in the queue and time limit of each.

Part of what DAG files read at parse time.
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TypedDict

from clipfarm_tasks.deployment.backend import trains_in_pod
from clipfarm_tasks.deployment.pods import PodSettings
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import PRESETS, Family, Strategy

CPU_POOL = "clipfarm_cpu"
GPU_POOL = "clipfarm_gpu"
DEFAULT_POOL = "default_pool"

# Of every task of every DAG; an error that no retry can mend ends a task at its first try all the same.
DEFAULT_ARGS = {
    "owner": "clipfarm",
    "retries": 3,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": 2,
    "max_retry_delay": timedelta(minutes=15),
    "weight_rule": "absolute",
}

# Tasks that move a few kilobytes: they need no core of their own, and must never wait for one.
_LIGHT = frozenset({"resolve_run", "leaderboard", "gate", "delete_pods", "check_freshness", "plan_study"})
_HOURS = {
    "scan_metadata": 3,
    "reconstruct_fused": 3,
    "reconstruct_modalities": 3,
    "train": 3,
    "publish_snapshot": 3,  # it trains too: the temporal check
    "maintain": 4,
    "run_trials": 8,  # its budget is at most 4, and then a fit may have begun
}

# Higher starts first. What feeds the jobs goes before them; among the jobs the slowest family goes first, so that none
# of them is left over at the end. A family that does not see the fused vector is trained for the first strategy before
# all other jobs, and for the others last, when its result is there to be shared.
_FEEDING = 10
# The leaderboard alone waits for baselines; upkeep and tuning stand behind every task of a training run in their pool.
_BESIDE = {"baselines": 2, "maintain": 0, "run_trials": 0, "publish_preset": 0}
_TO_BE_SHARED = 5


class Slot(TypedDict):
    """Where a task waits for its turn, and how long it may take: arguments of an Airflow task."""

    pool: str
    priority_weight: int
    execution_timeout: timedelta


def slot_of(step: str, strategy: Strategy | None = None, family: Family | None = None) -> Slot:
    """The slot of a task, by its step and selectors.

    Raises:
        ConfigError: the settings of the backend or of the family's pods are wrong.
    """
    limit = timedelta(hours=_HOURS.get(step, 1))
    if family is None:
        weight = _BESIDE.get(step, _FEEDING)
        pool = DEFAULT_POOL if step in _LIGHT else CPU_POOL
        return Slot(pool=pool, priority_weight=weight, execution_timeout=limit)
    preset = PRESETS[family]
    is_to_be_shared = not preset.sees_fused and strategy is next(iter(Strategy))
    on_gpu = trains_in_pod(family) and PodSettings.from_environment(family).gpus > 0
    weight = _TO_BE_SHARED if is_to_be_shared else preset.start_order
    return Slot(pool=GPU_POOL if on_gpu else CPU_POOL, priority_weight=weight, execution_timeout=limit)


def pool_sizes(environ: Mapping[str, str] | None = None) -> dict[str, int]:
    """Slots by pool: CLIPFARM_CPU_SLOTS, by default the cores of this machine, and CLIPFARM_GPU_SLOTS, by default 1.

    Raises:
        ConfigError: one of them is no positive number.
    """
    env = os.environ if environ is None else environ
    cores = len(os.sched_getaffinity(0))
    return {
        CPU_POOL: _slots(env, "CLIPFARM_CPU_SLOTS", cores),
        GPU_POOL: _slots(env, "CLIPFARM_GPU_SLOTS", 1),
    }


def _slots(env: Mapping[str, str], variable: str, default: int) -> int:
    text = env.get(variable) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"expected {variable} to be a whole number of 1 or more, got {text!r}")
    return int(text)
