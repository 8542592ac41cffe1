"""A run settles the version of each vector table once, the first time: every later task and attempt reads that one."""

from clipfarm_tasks.contracts import VectorsRecord
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.vectors.table import VectorTable


def settled_vectors(context: StepContext, task: str) -> VectorsRecord | None:
    """What an earlier attempt of a reconstruct task has settled; None if none has.

    Raises:
        DataError: the settled version, or the list of its usable videos, cannot be read any more.
    """
    record = context.standing(VectorsRecord, task)
    if record is None:
        return None
    VectorTable(context.store, record.key).require(record.version, record.table_id)
    if not context.holds(record.rows_key, record.sha256):
        raise DataError(
            f"expected the usable videos that run {context.run_id} has settled, got them lost or altered, in "
            f"{context.store.uri(record.rows_key)}: start a new run"
        )
    return record
