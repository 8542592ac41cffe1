"""Fail the run unless every requested job and pair has its complete snapshot."""

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import GateRecord
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.storage.snapshot import Marker, read_marker


def gate(context: StepContext) -> GateRecord:
    """Count the markers, not the tasks' states.

    Raises:
        DataError: a requested snapshot is missing, or a finished one has lost a file; names all of them.
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
            damaged += _damaged(context, prefix, marker)
    if missing or damaged:
        raise DataError(
            f"expected {len(wanted)} complete snapshots under "
            f"{context.store.uri(keys.snapshots_prefix(context.run_id))}, got {len(wanted) - len(missing)}"
            + (f"; missing: {', '.join(missing)}: what is finished stays, retry these tasks" if missing else "")
            + (f"; damaged after they were finished: {', '.join(damaged)}: start a new run" if damaged else "")
        )
    return GateRecord(jobs=len(jobs), leaderboard_key=keys.comparison(context.run_id))


def _damaged(context: StepContext, prefix: str, marker: Marker) -> list[str]:
    """Files that the marker names and that are gone or of another size."""
    sizes = {info.key.removeprefix(prefix): info.size for info in context.store.list(prefix)}
    return [context.store.uri(f"{prefix}{name}") for name, file in marker.files.items() if sizes.get(name) != file.size]
