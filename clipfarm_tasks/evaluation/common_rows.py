"""Metrics of jobs on the rows that all of them were judged on, so that strategies can be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import pandas as pd

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.metrics import regression_metrics
from clipfarm_tasks.evaluation.ranking import METRICS, PARTS, PartMetrics


@dataclass(frozen=True)
class CommonRows:
    """How jobs of one horizon compare on their common rows.

    Attributes:
        counts: rows that all jobs were judged on, by part (val, test).
        metrics: by name of the job, the five metrics on these rows, by part; None where there is no common row.
    """

    counts: Mapping[str, int]
    metrics: Mapping[str, PartMetrics]


def on_common_rows(predictions: Mapping[str, Mapping[str, pd.DataFrame]], columns: Mapping[str, str]) -> CommonRows:
    """Judge jobs of one horizon on the videos that all of them have in a part.

    Args:
        predictions: by name of the job, its predictions frames by part (see `predictions_frame`).
        columns: by name of the job, its column of predictions in log space.

    Raises:
        DataError: two jobs were judged by different labels of a video.
    """
    _require_one_truth(predictions)
    ids = {part: _common_ids([frames[part] for frames in predictions.values()]) for part in PARTS}
    return CommonRows(
        counts={part: len(common) for part, common in ids.items()},
        metrics={
            job: {part: _metrics(frames[part], columns[job], ids[part]) for part in PARTS}
            for job, frames in predictions.items()
        },
    )


def _require_one_truth(predictions: Mapping[str, Mapping[str, pd.DataFrame]]) -> None:
    for part in PARTS:
        labels = [frames[part].assign(job=job) for job, frames in predictions.items()]
        if not labels:
            continue
        known = pd.concat([frame[["video_id", "y_true_log", "job"]] for frame in labels], ignore_index=True)
        first = known.groupby("video_id")[["y_true_log", "job"]].transform("first")
        other = known[known["y_true_log"] != first["y_true_log"]]
        if len(other):
            video, label, job = other.iloc[0]
            expected, by = first.loc[other.index[0]]
            raise DataError(
                f"expected one label of a video for all jobs, got {label} in {job} and {expected} in {by}, for video "
                f"{video} of the {part} part: start a new run"
            )


def _common_ids(frames: Sequence[pd.DataFrame]) -> "pd.Index[str]":
    indexes = [pd.Index(frame["video_id"]) for frame in frames]
    return reduce(lambda first, second: first.intersection(second), indexes) if indexes else pd.Index([])


def _metrics(frame: pd.DataFrame, column: str, ids: "pd.Index[str]") -> Mapping[str, float | None]:
    rows = frame[frame["video_id"].isin(ids)]
    if rows.empty:
        return dict.fromkeys(METRICS)
    return regression_metrics(rows["y_true_log"].to_numpy(), rows[column].to_numpy())
