"""Fail the run unless every snapshot is complete, no probe has found a leak, and the best models keep the limits."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from clipfarm_tasks import keys
from clipfarm_tasks.config import LeakageProbes
from clipfarm_tasks.contracts import BaselinesRecord, GateRecord
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.limits import judge
from clipfarm_tasks.slice_limits import parse_limit
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.steps.leaderboard import COMPARISON_JSON
from clipfarm_tasks.steps.leakage import leakage_reports
from clipfarm_tasks.steps.snapshot_folder import slices_of
from clipfarm_tasks.storage.success_marker import damaged_files, read_marker

log = logging.getLogger(__name__)


def gate(context: StepContext) -> GateRecord:
    """Count the markers, not the tasks' states.

    Raises:
        DataError: a requested snapshot is missing, or a file of a finished one is lost or altered; a leakage probe
            blocks the run; or the best model of a horizon breaks a limit on a slice. One message names all of it.
    """
    params = context.params
    pairs = [(strategy, horizon) for strategy in params.strategies for horizon in params.horizons]
    jobs = {
        keys.model_task_id(model, *pair): keys.job_snapshot(context.run_id, model, *pair)
        for pair in pairs
        for model in context.config.models
    }
    wanted = jobs | {
        keys.task_id("publish_snapshot", *pair): keys.pair_snapshot(context.run_id, *pair) for pair in pairs
    }
    incomplete = _incomplete(context, wanted)
    problems = incomplete + _leaks(context) + ([] if incomplete else _broken_limits(context))
    if problems:
        raise DataError("; ".join(problems))
    return GateRecord(jobs=len(jobs), leaderboard_key=keys.comparison(context.run_id))


def _incomplete(context: StepContext, wanted: Mapping[str, str]) -> list[str]:
    """What is wrong with the snapshots at these prefixes, by the task that publishes them."""
    missing, damaged = [], []
    for task, prefix in wanted.items():
        try:
            marker = read_marker(context.store, prefix, context.config.digest)
        except DataError as error:
            damaged.append(str(error))
            continue
        if marker is None:
            missing.append(task)
        else:
            damaged += [context.store.uri(f"{prefix}{name}") for name in damaged_files(context.store, prefix, marker)]
    if not missing and not damaged:
        return []
    return [
        f"expected {len(wanted)} complete snapshots under "
        f"{context.store.uri(keys.snapshots_prefix(context.run_id))}, got {len(wanted) - len(missing)}"
        + (f"; missing: {', '.join(missing)}: what is finished stays, retry these tasks" if missing else "")
        + (f"; damaged after they were finished: {', '.join(damaged)}: start a new run" if damaged else "")
    ]


def _leaks(context: StepContext) -> list[str]:
    """What a probe has found, and every horizon that no probe has looked at."""
    params = context.params
    # The config of a run of an earlier release, which had no probes, does not name the param.
    if params.leakage_probes is not LeakageProbes.BLOCK or "leakage_probes" not in params.model_fields_set:
        return []
    tasks = [keys.task_id("baselines", horizon=horizon) for horizon in params.horizons]
    unprobed = [
        f"expected the leakage probes of {task}, got none: clear it, with downstream"
        for task in tasks
        if context.standing(BaselinesRecord, task) is None
    ]
    return unprobed + [
        f"leak ({leak.probe}, horizon {int(report.horizon)} days): {leak.says}, in "
        f"{context.store.uri(keys.leakage_report(context.run_id, report.horizon))}"
        for report in leakage_reports(context)
        for leak in report.leaks()
    ]


def _broken_limits(context: StepContext) -> list[str]:
    """Judge the best model of each horizon, by the rank metric: the one that a reader of the leaderboard would take."""
    limits = [parse_limit(text) for text in context.params.slice_limits]
    if not limits:
        return []
    key = f"{keys.comparison(context.run_id)}{COMPARISON_JSON}"
    best: dict[str, Any] = json.loads(context.store.get(key))["best_by_rank_metric"]
    broken = []
    for horizon in context.params.horizons:
        row = best.get(str(int(horizon)))
        if row is None:
            log.warning(
                "slice_limits judge nothing: no best model of horizon %d in %s", horizon, context.store.uri(key)
            )
            continue
        job = f"{row['fusion_strategy']}_{row['target_horizon_days']}d.{row['model']}"
        judgement = judge(slices_of(context, row), row["model"], limits)
        broken += [f"{job}: {text}" for text in judgement.broken]
        for text in judgement.unjudged:
            log.warning("slice_limits: %s cannot be judged for %s", text, job)
    if not broken:
        return []
    return [
        (
            f"expected the best model of each horizon to keep slice_limits on the test part, got {len(broken)} broken "
            f"in {context.store.uri(keys.snapshots_prefix(context.run_id))}: {'; '.join(broken)}"
        )
    ]
