"""What the leakage probes of a run have found so far."""

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import BaselinesRecord
from clipfarm_tasks.evaluation.leakage_report import LeakageReport
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.storage.documents import parse_document


def leakage_reports(context: StepContext) -> tuple[LeakageReport, ...]:
    """The report of each horizon whose ``baselines`` ended well; none of a run of an earlier release.

    Raises:
        DataError: somebody has altered a report.
    """
    tasks = [keys.task_id("baselines", horizon=horizon) for horizon in context.params.horizons]
    records = [context.standing(BaselinesRecord, task) for task in tasks]
    return tuple(
        parse_document(
            LeakageReport,
            context.bytes(record.leakage_key, record.leakage_sha256),
            context.store.uri(record.leakage_key),
        )
        for record in records
        if record is not None and record.leakage_key
    )
