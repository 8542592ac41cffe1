"""Compare all requested jobs, whatever happened upstream; what is missing is marked, not hidden."""

import dataclasses
import hashlib
import logging
from collections.abc import Mapping
from typing import Any

import pandas as pd

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import BaselinesRecord, LeaderboardRecord, VectorsRecord, VideoSplitRecord
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.certainty import Certainty, certainties
from clipfarm_tasks.evaluation.common_rows import common_rows
from clipfarm_tasks.evaluation.comparison import (
    JobResult,
    best_by_mae_log_document,
    comparison_document,
    comparison_rows,
    comparison_table,
    missing_jobs,
)
from clipfarm_tasks.evaluation.metrics_summary import metrics_of
from clipfarm_tasks.evaluation.predictions import prediction_columns
from clipfarm_tasks.evaluation.slice_quality import worst_slices
from clipfarm_tasks.families import NAIVE, Horizon, ModelName, Strategy
from clipfarm_tasks.steps.context import StepContext, json_bytes
from clipfarm_tasks.steps.leakage import leakage_reports
from clipfarm_tasks.steps.snapshot_folder import METRICS_SUMMARY, metrics_summary_of, predictions_of, slices_of
from clipfarm_tasks.storage.success_marker import read_marker

log = logging.getLogger(__name__)
COMPARISON_JSON = "metrics_comparison.json"
COMPARISON_CSV = "metrics_comparison.csv"
BEST_BY_MAE_LOG = "best_by_mae_log.json"


def leaderboard(context: StepContext) -> LeaderboardRecord:
    """Write comparison/ from the finished snapshots. It is derived from them and rewritten as more of them finish."""
    jobs: list[JobResult] = []
    counts: dict[Horizon, Mapping[str, int]] = {}
    baselines: dict[Horizon, Mapping[str, Certainty]] = {}
    for horizon in context.params.horizons:
        of_horizon, counts[horizon], baselines[horizon] = _horizon(context, horizon)
        jobs += of_horizon
    folder, snapshots = keys.comparison(context.run_id), keys.snapshots_prefix(context.run_id)
    checks = _temporal_checks(context)
    document = comparison_document(context.config, snapshots, jobs, counts, baselines, _tables(context), checks)
    worst = _worst_slices(context, document["best_by_rank_metric"])
    body = json_bytes(document | {"worst_slices": worst, "leakage": _leakage(context)})
    table = comparison_table(comparison_rows(jobs, context.params.rank_metric))
    context.store.put(f"{folder}{COMPARISON_CSV}", table.to_csv(index=False).encode())
    best = best_by_mae_log_document(context.config, snapshots, jobs)
    context.store.put(f"{folder}{BEST_BY_MAE_LOG}", json_bytes(best))
    context.store.put(f"{folder}{COMPARISON_JSON}", body)
    missing = tuple(missing_jobs(jobs))
    return LeaderboardRecord(
        key=folder, rows=len(jobs) - len(missing), missing=missing, sha256=hashlib.sha256(body).hexdigest()
    )


def _horizon(
    context: StepContext, horizon: Horizon
) -> tuple[list[JobResult], Mapping[str, int], Mapping[str, Certainty]]:
    """What became of the jobs of a horizon; how many rows all finished ones were judged on, by part; the baselines."""
    read = {
        (strategy, model): _read(context, strategy, horizon, model)
        for strategy in context.params.strategies
        for model in context.config.models
    }
    jobs = {pair: result for pair, (result, _) in read.items()}
    predictions = {jobs[pair].name: frames for pair, (_, frames) in read.items() if frames is not None}
    columns = {result.name: prediction_columns(result.model)[0] for result in jobs.values()}
    creators, guesses = _creators(context, horizon), _baselines(context, horizon)
    rows = common_rows(predictions, columns, creators, guesses)
    found = certainties(rows, list(predictions), NAIVE, context.params.rank_metric, context.params.seed)
    results = [
        dataclasses.replace(
            job,
            rows={part: len(frame) for part, frame in predictions[job.name].items()},
            common=found[job.name],
        )
        if job.name in predictions
        else job
        for job in jobs.values()
    ]
    counts = {part: len(judged.target_log) for part, judged in rows.items()}
    return results, counts, {name: found[name] for name in guesses.columns if name in found}


def _creators(context: StepContext, horizon: Horizon) -> "pd.Series[str]":
    """Whose video each is, by video_id; nothing before the videos were split, or of a run of an earlier release."""
    record = context.standing(VideoSplitRecord, keys.task_id("split_videos", horizon=horizon))
    frame = _frame(context, record)
    return frame["creator"] if "creator" in frame else pd.Series([], dtype=object)


def _baselines(context: StepContext, horizon: Horizon) -> pd.DataFrame:
    """Predictions by video_id, a column for each baseline; none where their task did not end well."""
    return _frame(context, context.standing(BaselinesRecord, keys.task_id("baselines", horizon=horizon)))


def _leakage(context: StepContext) -> dict[str, list[dict[str, Any]]]:
    """What the leakage probes found, by horizon; nothing where somebody has altered it: the gate says so."""
    try:
        reports = leakage_reports(context)
    except DataError as error:
        log.warning("compared without it: %s", error)
        return {}
    return {str(int(report.horizon)): report.model_dump(mode="json")["findings"] for report in reports}


def _frame(context: StepContext, record: VideoSplitRecord | BaselinesRecord | None) -> pd.DataFrame:
    """A task's file by video_id; nothing if the task has not ended, or somebody has altered the file."""
    try:
        return context.frame(record.key, record.sha256).set_index("video_id") if record else pd.DataFrame()
    except DataError as error:
        log.warning("compared without it: %s", error)
        return pd.DataFrame()


def _read(
    context: StepContext, strategy: Strategy, horizon: Horizon, model: ModelName
) -> tuple[JobResult, dict[str, pd.DataFrame] | None]:
    """A model's metrics and predictions, each file as its ``_SUCCESS`` names it; None without a whole snapshot."""
    prefix = keys.job_snapshot(context.run_id, model, strategy, horizon)
    metrics, predictions, cost = None, None, None
    try:
        marker = read_marker(context.store, prefix, context.config.digest)
        if marker is not None:
            summary = metrics_summary_of(context.store, prefix, marker)
            predictions = predictions_of(context.store, prefix, marker)
            metrics = metrics_of(summary, model, context.store.uri(prefix))
            cost = summary.get("cost", {}).get(model)  # a run of an earlier release has not measured it
    except DataError as error:
        # A damaged snapshot must not hide all the others; the gate says what is wrong with it.
        log.warning("%s counts as missing: %s", keys.model_task_id(model, strategy, horizon), error)
        predictions = None
    return JobResult(strategy, horizon, model, f"{prefix}{METRICS_SUMMARY}", metrics, cost=cost), predictions


def _temporal_checks(context: StepContext) -> list[dict[str, Any]]:
    """Those of the pairs whose snapshot is finished and has one, by horizon and strategy."""
    checks = []
    for horizon in context.params.horizons:
        for strategy in context.params.strategies:
            prefix = keys.pair_snapshot(context.run_id, strategy, horizon)
            try:
                marker = read_marker(context.store, prefix, context.config.digest)
                summary = {} if marker is None else metrics_summary_of(context.store, prefix, marker)
            except DataError as error:
                log.warning("compared without its temporal check: %s", error)
                summary = {}
            check = summary.get("temporal_check")
            if check is not None:
                checks.append({"target_horizon_days": int(horizon), "fusion_strategy": str(strategy), **check})
    return checks


def _worst_slices(context: StepContext, best: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Where the best model of each horizon errs most, by horizon; the gate says what is wrong with a damaged file."""
    worst = {}
    for days in map(str, map(int, context.params.horizons)):
        if (row := best.get(days)) is not None:
            try:
                worst[days] = worst_slices(slices_of(context, row), row["model"])
            except DataError as error:
                log.warning("slices of horizon %s are not shown: %s", days, error)
    return worst


def _tables(context: StepContext) -> dict[str, dict[str, Any]]:
    """Version and id of each vector table that the run has settled, by its name."""
    tasks = [keys.task_id("reconstruct_fused", strategy) for strategy in context.params.strategies]
    records = [context.standing(VectorsRecord, task) for task in (*tasks, keys.task_id("reconstruct_modalities"))]
    return {
        record.table: {"version": record.version, "id": record.table_id} for record in records if record is not None
    }
