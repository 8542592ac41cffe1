"""What a training job that ran elsewhere has left: its snapshot, or nothing yet."""

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import SnapshotRecord
from clipfarm_tasks.families import Family, Horizon, Strategy
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.steps.snapshot_folder import snapshot_record
from clipfarm_tasks.storage.success_marker import read_marker


def finished_job(
    context: StepContext, strategy: Strategy, horizon: Horizon, family: Family, *, reused: bool
) -> SnapshotRecord | None:
    """The record of a job whose ``_SUCCESS`` is there for the config digest of the run; None while it is not.

    ``reused`` is told on: whether the snapshot was finished before anybody was asked to train it.

    Raises:
        DataError: a snapshot of another config digest stands there.
    """
    prefix = keys.job_snapshot(context.run_id, family, strategy, horizon)
    marker = read_marker(context.store, prefix, context.config.digest)
    return None if marker is None else snapshot_record(context, prefix, marker, reused=reused)
