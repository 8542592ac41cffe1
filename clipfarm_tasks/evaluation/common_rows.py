"""The rows that all jobs of a horizon, and its baselines, were judged on, so that strategies can be compared."""

from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np
import pandas as pd

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.certainty import PartRows
from clipfarm_tasks.evaluation.metrics import F64
from clipfarm_tasks.evaluation.ranking import PARTS


def common_rows(
    predictions: Mapping[str, Mapping[str, pd.DataFrame]],
    columns: Mapping[str, str],
    creators: "pd.Series[str]",
    baselines: pd.DataFrame,
) -> dict[str, PartRows]:
    """The videos that all jobs of one horizon and its baselines have in a part, in the order of their ids.

    Args:
        predictions: by name of the job, its predictions frames by part (see `predictions_frame`).
        columns: by name of the job, its column of predictions in log space.
        creators: whose video each is, by video_id; a video that is not named is the only one of its creator.
        baselines: by video_id, a column of predictions in log space for each baseline; no column: there is none.

    Returns:
        By part (val, test) the rows with the predictions of every job and every baseline.

    Raises:
        DataError: two jobs were judged by different labels of a video.
    """
    return {
        part: _part(part, {job: frames[part] for job, frames in predictions.items()}, columns, creators, baselines)
        for part in PARTS
    }


def _part(
    part: str,
    frames: Mapping[str, pd.DataFrame],
    columns: Mapping[str, str],
    creators: "pd.Series[str]",
    baselines: pd.DataFrame,
) -> PartRows:
    indexed = {job: frame.set_index("video_id") for job, frame in frames.items()}
    known = [*(frame.index for frame in indexed.values()), *([baselines.index] if len(baselines.columns) else [])]
    ids = reduce(lambda first, second: first.intersection(second), known).sort_values() if indexed else pd.Index([])
    rows = {job: frame.loc[ids] for job, frame in indexed.items()}
    labels = {job: frame["y_true_log"].to_numpy(np.float64) for job, frame in rows.items()}
    _require_one_truth(labels, ids, part)
    predicted = {job: frame[columns[job]].to_numpy(np.float64) for job, frame in rows.items()}
    return PartRows(
        target_log=next(iter(labels.values()), np.zeros(0)),
        creators=creators.reindex(ids).fillna(pd.Series(ids, ids)).to_numpy(dtype=object),
        predicted_log=predicted | {name: baselines.loc[ids, name].to_numpy(np.float64) for name in baselines.columns}
        if indexed
        else {},
    )


def _require_one_truth(labels: Mapping[str, F64], ids: Sequence[str], part: str) -> None:
    for (by, expected), (job, found) in zip(list(labels.items())[:-1], list(labels.items())[1:], strict=True):
        differing = np.flatnonzero(expected != found)
        if differing.size:
            at = differing[0]
            raise DataError(
                f"expected one label of a video for all jobs, got {found[at]} in {job} and {expected[at]} in {by}, for "
                f"video {ids[at]} of the {part} part: start a new run"
            )
