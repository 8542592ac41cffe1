"""Fail the run unless every requested job and pair has its complete snapshot."""

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import GateRecord
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.snapshot import read_marker
from clipfarm_tasks.steps.context import StepContext


def gate(context: StepContext) -> GateRecord:
    """Count the markers, not the tasks' states.

    Raises:
        DataError: a requested snapshot is missing, or a file of one is; names all of them.
    """
    params = context.params
    pairs = [(strategy, horizon) for strategy in params.strategies for horizon in params.horizons]
    jobs = {
        keys.task_id("train", *pair, family): keys.job_snapshot(context.run_id, family, *pair)
        for pair in pairs
        for family in params.models
    }
    wanted = jobs | {
        keys.task_id("publish_snapshot", *pair): keys.pair_snapshot(context.run_id, *pair) for pair in pairs
    }
    missing = [task for task, prefix in wanted.items() if not _complete(context, prefix)]
    if missing:
        raise DataError(
            f"expected {len(wanted)} snapshots under {context.store.uri(keys.snapshots_prefix(context.run_id))}, got "
            f"{len(wanted) - len(missing)}; missing: {', '.join(missing)}. What is finished stays; retry these tasks"
        )
    return GateRecord(jobs=len(jobs), leaderboard_key=keys.comparison(context.run_id))


def _complete(context: StepContext, prefix: str) -> bool:
    marker = read_marker(context.store, prefix, context.config.digest)
    if marker is None:
        return False
    sizes = {info.key.removeprefix(prefix): info.size for info in context.store.list(prefix)}
    return all(sizes.get(name) == entry.size for name, entry in marker.files.items())
