"""Compare all requested jobs, whatever happened upstream; what is missing is marked, not hidden."""

import hashlib
import logging

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import LeaderboardRecord
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.comparison import (
    JobResult,
    best_by_mae_log_document,
    comparison_document,
    comparison_rows,
    comparison_table,
    missing_jobs,
)
from clipfarm_tasks.evaluation.metrics_summary import metrics_of
from clipfarm_tasks.families import Family, Horizon, Strategy
from clipfarm_tasks.steps.context import StepContext, json_bytes
from clipfarm_tasks.steps.snapshot_folder import METRICS_SUMMARY, metrics_summary_of
from clipfarm_tasks.storage.snapshot import read_marker

log = logging.getLogger(__name__)
COMPARISON_JSON = "metrics_comparison.json"
COMPARISON_CSV = "metrics_comparison.csv"
BEST_BY_MAE_LOG = "best_by_mae_log.json"


def leaderboard(context: StepContext) -> LeaderboardRecord:
    """Write comparison/ from the finished snapshots. It is derived from them and rewritten as more of them finish."""
    jobs = [
        _result(context, strategy, horizon, family)
        for strategy in context.params.strategies
        for horizon in context.params.horizons
        for family in context.params.models
    ]
    folder, snapshots = keys.comparison(context.run_id), keys.snapshots_prefix(context.run_id)
    body = json_bytes(comparison_document(context.config, snapshots, jobs))
    table = comparison_table(comparison_rows(jobs, context.params.rank_metric))
    context.store.put(f"{folder}{COMPARISON_CSV}", table.to_csv(index=False).encode())
    best = best_by_mae_log_document(context.config, snapshots, jobs)
    context.store.put(f"{folder}{BEST_BY_MAE_LOG}", json_bytes(best))
    context.store.put(f"{folder}{COMPARISON_JSON}", body)
    missing = tuple(missing_jobs(jobs))
    return LeaderboardRecord(
        key=folder, rows=len(jobs) - len(missing), missing=missing, sha256=hashlib.sha256(body).hexdigest()
    )


def _result(context: StepContext, strategy: Strategy, horizon: Horizon, family: Family) -> JobResult:
    prefix = keys.job_snapshot(context.run_id, family, strategy, horizon)
    metrics = None
    try:
        if read_marker(context.store, prefix, context.config.digest) is not None:
            metrics = metrics_of(metrics_summary_of(context.store, prefix), family, context.store.uri(prefix))
    except DataError as error:
        # A damaged snapshot must not hide all the others; the gate says what is wrong with it.
        log.warning("%s counts as missing: %s", keys.task_id("train", strategy, horizon, family), error)
    return JobResult(strategy, horizon, family, f"{prefix}{METRICS_SUMMARY}", metrics)
