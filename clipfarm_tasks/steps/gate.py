"""Fail the run unless every requested job and pair has its complete snapshot, and no probe has found a leak."""

from clipfarm_tasks import keys
from clipfarm_tasks.config import LeakageProbes
from clipfarm_tasks.contracts import GateRecord
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.steps.leakage import leakage_reports
from clipfarm_tasks.storage.success_marker import damaged_files, read_marker


def gate(context: StepContext) -> GateRecord:
    """Count the markers, not the tasks' states.

    Raises:
        DataError: a requested snapshot is missing, or a file of a finished one is lost or altered; or a leakage probe
            blocks the run. One message names all of it.
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
    problems = []
    if missing or damaged:
        problems.append(
            f"expected {len(wanted)} complete snapshots under "
            f"{context.store.uri(keys.snapshots_prefix(context.run_id))}, got {len(wanted) - len(missing)}"
            + (f"; missing: {', '.join(missing)}: what is finished stays, retry these tasks" if missing else "")
            + (f"; damaged after they were finished: {', '.join(damaged)}: start a new run" if damaged else "")
        )
    if params.leakage_probes is LeakageProbes.BLOCK:
        problems += [
            f"leak ({leak.probe}, horizon {int(report.horizon)} days): {leak.says}, in "
            f"{context.store.uri(keys.leakage_report(context.run_id, report.horizon))}"
            for report in leakage_reports(context)
            for leak in report.leaks()
        ]
    if problems:
        raise DataError("; ".join(problems))
    return GateRecord(jobs=len(jobs), leaderboard_key=keys.comparison(context.run_id))
