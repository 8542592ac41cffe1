"""Publish a pair's snapshot over all its families, out of its jobs' snapshots."""

from pathlib import Path

import pandas as pd

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import SnapshotRecord
from clipfarm_tasks.evaluation.reports import Documents, pair_documents
from clipfarm_tasks.evaluation.scope import Scope
from clipfarm_tasks.families import Horizon, Strategy
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.steps.snapshot_folder import (
    SPLIT_MANIFEST,
    download_model,
    move_files,
    read_documents,
    snapshot_record,
    write_documents,
)
from clipfarm_tasks.steps.temporal_check import temporal_check
from clipfarm_tasks.storage.snapshot import finish, publish
from clipfarm_tasks.storage.temporary_disk import temporary_folder


def publish_snapshot(context: StepContext, strategy: Strategy, horizon: Horizon) -> SnapshotRecord:
    """Merge the documents and collect the models of all requested families of a pair.

    Raises:
        DataError: a requested family has no finished snapshot, or the jobs do not belong together.
    """
    run_id, digest = context.run_id, context.config.digest
    prefix = keys.pair_snapshot(run_id, strategy, horizon)
    marker = finish(context.store, run_id, prefix, digest)
    if marker is not None:
        return snapshot_record(context, prefix, marker, reused=True)
    with temporary_folder("a snapshot") as temporary:
        folder = temporary / "pair"
        folder.mkdir()
        jobs = _collect(context, strategy, horizon, temporary, folder)
        split = pd.read_parquet(temporary / context.params.models[0] / SPLIT_MANIFEST)
        documents = pair_documents(Scope(context.config, strategy, horizon), jobs)
        check = temporal_check(context, strategy, horizon, jobs, split)
        write_documents(folder, documents.telling(temporal_check=check), split)
        marker = publish(context.store, run_id, prefix, digest, folder)
    return snapshot_record(context, prefix, marker, reused=False)


def _collect(
    context: StepContext, strategy: Strategy, horizon: Horizon, temporary: Path, target: Path
) -> dict[str, Documents]:
    """Fetch every job's snapshot; move its models and curves into the pair's folder."""
    jobs: dict[str, Documents] = {}
    for model in context.config.models:
        folder = temporary / model
        download_model(context, strategy, horizon, model, folder)
        jobs[str(model)] = read_documents(folder)
        for kind in ("models", "curves"):
            move_files(folder, kind, target)
    return jobs
