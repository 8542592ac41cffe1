"""A snapshot as a local folder: write its documents, read them back, fetch it from the bucket, tell its record."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import SnapshotRecord
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.ranking import PARTS
from clipfarm_tasks.evaluation.reports import Documents
from clipfarm_tasks.families import Horizon, ModelName, Strategy
from clipfarm_tasks.models.family import Predictor
from clipfarm_tasks.models.registry import load
from clipfarm_tasks.steps.context import StepContext, json_bytes, parquet_bytes
from clipfarm_tasks.storage import Store
from clipfarm_tasks.storage.success_marker import Marker, read_file, read_marker
from clipfarm_tasks.storage.temporary_disk import temporary_folder

CONFIG_USED = "config_used.json"
DATA_SUMMARY = "data_summary.json"
METRICS_SUMMARY = "metrics_summary.json"
SLICE_METRICS = "slice_metrics_text_present.json"
SLICES = "slices.json"
SPLIT_MANIFEST = "split_manifest.parquet"
LEADERBOARD = "leaderboard.csv"


def write_documents(folder: Path, documents: Documents, split: pd.DataFrame) -> None:
    """Write every document of a snapshot under its fixed name; models and curves are there already.

    The split manifest is written in canonical order (video_id), whatever the order of ``split``.
    """
    (folder / CONFIG_USED).write_bytes(json_bytes(documents.config_used))
    (folder / DATA_SUMMARY).write_bytes(json_bytes(documents.data_summary))
    (folder / METRICS_SUMMARY).write_bytes(json_bytes(documents.metrics_summary))
    (folder / SLICE_METRICS).write_bytes(json_bytes(documents.slice_metrics))
    if documents.slices:
        (folder / SLICES).write_bytes(json_bytes(documents.slices))
    (folder / SPLIT_MANIFEST).write_bytes(parquet_bytes(split.sort_values("video_id")))
    documents.leaderboard.to_csv(folder / LEADERBOARD, index=False)
    predictions = folder / "predictions"
    predictions.mkdir()
    for part, frame in documents.predictions.items():
        (predictions / f"{part}.parquet").write_bytes(parquet_bytes(frame))


def read_documents(folder: Path) -> Documents:
    """Read back what `write_documents` wrote."""
    return Documents(
        config_used=json.loads((folder / CONFIG_USED).read_text()),
        data_summary=json.loads((folder / DATA_SUMMARY).read_text()),
        metrics_summary=json.loads((folder / METRICS_SUMMARY).read_text()),
        slice_metrics=json.loads((folder / SLICE_METRICS).read_text()),
        slices=json.loads((folder / SLICES).read_text()) if (folder / SLICES).exists() else {},
        leaderboard=pd.read_csv(folder / LEADERBOARD),
        predictions={part: pd.read_parquet(folder / "predictions" / f"{part}.parquet") for part in PARTS},
    )


def download_folder(store: Store, prefix: str, marker: Marker, folder: Path) -> None:
    """Fetch every file of a finished snapshot.

    Raises:
        DataError: a file is missing or is not the one its marker names.
    """
    for key, fetched in store.get_many(f"{prefix}{name}" for name in marker.files):
        name = key.removeprefix(prefix)
        if fetched is None:
            raise DataError(f"expected the file its _SUCCESS names, got none, in {store.uri(key)}")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = marker.files[name].matches(fetched.body)
        path.write_bytes(fetched.body if whole else read_file(store, prefix, marker, name))


def move_files(snapshot: Path, kind: str, target: Path) -> None:
    """Move the files under ``kind``, which is models or curves, of one snapshot's folder to those of another."""
    for file in [path for path in (snapshot / kind).rglob("*") if path.is_file()]:
        moved = target / file.relative_to(snapshot)
        moved.parent.mkdir(parents=True, exist_ok=True)
        file.rename(moved)


def download_model(context: StepContext, strategy: Strategy, horizon: Horizon, model: ModelName, folder: Path) -> None:
    """Fetch the finished snapshot of one model of a pair.

    Raises:
        DataError: it is not finished, or a file is missing or is not the one its marker names.
    """
    prefix = keys.job_snapshot(context.run_id, model, strategy, horizon)
    marker = read_marker(context.store, prefix, context.config.digest)
    if marker is None:
        raise DataError(
            f"expected a finished snapshot of every requested family, got no metrics of {model}, at "
            f"{context.store.uri(prefix)}: retry {keys.model_task_id(model, strategy, horizon)} first"
        )
    download_folder(context.store, prefix, marker, folder)


def load_model(store: Store, prefix: str, digest: str, model: ModelName) -> Predictor:
    """A fitted model of a snapshot, from files that are those its ``_SUCCESS`` names. Nothing is unpickled.

    Args:
        store: the bucket.
        prefix: the snapshot's folder.
        digest: config digest of the run that wrote it.
        model: the family to load, or ``ensemble``.

    Raises:
        DataError: there is no finished snapshot of this config, or a file of the model is lost or altered.
    """
    marker = read_marker(store, prefix, digest)
    if marker is None:
        raise DataError(f"expected a finished snapshot, got none, in {store.uri(prefix)}")
    names = [name for name in marker.files if name.startswith("models/") and not name.endswith(".joblib")]
    with temporary_folder("a model", sum(marker.files[name].size for name in names)) as folder:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(read_file(store, prefix, marker, name))
        return load(model, folder / "models")


def metrics_summary_of(store: Store, prefix: str, marker: Marker) -> dict[str, Any]:
    """metrics_summary.json of a finished snapshot.

    Raises:
        DataError: it is lost, or is not the one that the marker names.
    """
    document: dict[str, Any] = json.loads(read_file(store, prefix, marker, METRICS_SUMMARY))
    return document


def slices_of(context: StepContext, row: Mapping[str, Any]) -> dict[str, Any]:
    """slices.json of the job of a row of the leaderboard; empty where an earlier release wrote the snapshot.

    Raises:
        DataError: there is no finished snapshot, or the file is lost or is not the one that the marker names.
    """
    pair = Strategy(row["fusion_strategy"]), Horizon(row["target_horizon_days"])
    prefix = keys.job_snapshot(context.run_id, row["model"], *pair)
    marker = read_marker(context.store, prefix, context.config.digest)
    if marker is None:
        raise DataError(f"expected a finished snapshot, got none, in {context.store.uri(prefix)}")
    if SLICES not in marker.files:
        return {}
    document: dict[str, Any] = json.loads(read_file(context.store, prefix, marker, SLICES))
    return document


def predictions_of(store: Store, prefix: str, marker: Marker) -> dict[str, pd.DataFrame]:
    """predictions/<part>.parquet of a finished snapshot, by part (val, test).

    Raises:
        DataError: a file is lost, or is not the one that the marker names.
    """
    return {
        part: pd.read_parquet(io.BytesIO(read_file(store, prefix, marker, f"predictions/{part}.parquet")))
        for part in PARTS
    }


def snapshot_record(context: StepContext, prefix: str, marker: Marker, *, reused: bool) -> SnapshotRecord:
    """What a finished snapshot tells the next task."""
    summary = metrics_summary_of(context.store, prefix, marker)
    part, metric = str(summary["rank_metric"]).split("_", 1)
    best = summary["best_model"]
    return SnapshotRecord(
        strategy=Strategy(summary["fusion_strategy"]),
        horizon=Horizon(summary["target_horizon_days"]),
        model=summary["model_family"],
        snapshot_key=prefix,
        digest=marker.digest,
        success_sha256=marker.sha256,
        best_model=best,
        rank_metric=summary["rank_metric"],
        rank_value=summary["models"][best][part][metric],
        reused=reused,
    )
