"""predictions/{val,test}.parquet: true and predicted views of one part, a pair of columns per family."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.conformal import IntervalModel
from clipfarm_tasks.evaluation.metrics import raw_from_log, regression_metrics
from clipfarm_tasks.evaluation.scope import in_family_order

ROW_COLUMNS = ("video_id", "text_present", "y_true_log", "y_true_raw")


def predictions_frame(rows: pd.DataFrame, predicted_log: Mapping[str, ArrayLike]) -> pd.DataFrame:
    """Predictions of one part.

    Args:
        rows: N rows of the split manifest (video_id, text_present, target_log, target_raw), in prediction order.
        predicted_log: by family, (N,) predictions of ``target_log``.

    Returns:
        N rows: video_id, text_present (int8), y_true_log, y_true_raw, then pred_<family>_log and pred_<family>_raw
        (views, by `raw_from_log`).

    Raises:
        DataError: no or an unknown family, another number of predictions than rows, or a prediction is not finite.
    """
    columns: dict[str, object] = {
        "video_id": rows["video_id"].to_numpy(),
        "text_present": rows["text_present"].to_numpy().astype(np.int8),
        "y_true_log": rows["target_log"].to_numpy(dtype=np.float64),
        "y_true_raw": rows["target_raw"].to_numpy(dtype=np.float64),
    }
    for family in in_family_order(predicted_log, "predictions"):
        values = np.asarray(predicted_log[family], dtype=np.float64)
        if values.shape != (len(rows),):
            raise DataError(f"expected ({len(rows)},) predictions, one per row, got {values.shape}, in {family}")
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise DataError(f"expected finite predictions, got {bad} of {len(rows)} NaN or infinite, in {family}")
        columns[f"pred_{family}_log"] = values
        columns[f"pred_{family}_raw"] = raw_from_log(values)
    return pd.DataFrame(columns)


def join_predictions(frames: Mapping[str, pd.DataFrame], where: str) -> pd.DataFrame:
    """Predictions of several jobs side by side, joined on video_id, in the row order of the first.

    Args:
        frames: by family, the job's predictions of one part.
        where: which part of which snapshot, for messages.

    Returns:
        `ROW_COLUMNS`, then each family's `prediction_columns` in canonical family order.

    Raises:
        DataError: no frame, a family's columns are absent, or rows or true values differ between families.
    """
    families = in_family_order(frames, where)
    first = families[0]
    joined = frames[first][list(ROW_COLUMNS)].reset_index(drop=True)
    for family in families:
        frame = _aligned(frames[family], joined, f"{family} and {first}, {where}")
        columns = prediction_columns(family)
        absent = [name for name in columns if name not in frame.columns]
        if absent:
            raise DataError(f"expected prediction columns {columns}, got none of {absent}, in {family}, {where}")
        joined[columns] = frame[columns]
    return joined


def _aligned(frame: pd.DataFrame, reference: pd.DataFrame, where: str) -> pd.DataFrame:
    wanted = reference["video_id"]
    indexed = frame.set_index("video_id", drop=False)
    if not indexed.index.is_unique or len(frame) != len(wanted) or not wanted.isin(indexed.index).all():
        shared = len(set(wanted) & set(frame["video_id"]))
        raise DataError(
            f"expected the same videos in both, once each, got {len(frame)} and {len(wanted)} rows with {shared} "
            f"videos in common, in {where}"
        )
    aligned = indexed.loc[wanted.to_numpy()].reset_index(drop=True)
    for name in ROW_COLUMNS[1:]:
        differing = aligned[name].to_numpy() != reference[name].to_numpy()
        if differing.any():
            raise DataError(
                f"expected the same {name} in both, got {int(differing.sum())} differing rows, the first being "
                f"{wanted[differing].iloc[0]!r}, in {where}"
            )
    return aligned


def prediction_columns(family: str) -> list[str]:
    """The columns of a family: log space, views, then the lower and upper end of the prediction interval in views."""
    return [f"pred_{family}_{name}" for name in ("log", "raw", "low", "high")]


def with_interval(frame: pd.DataFrame, family: str, model: IntervalModel) -> pd.DataFrame:
    """A predictions frame with the ends of a family's prediction intervals."""
    low, high = model.bounds(frame[f"pred_{family}_log"].to_numpy(np.float64))
    return frame.assign(**{f"pred_{family}_low": low, f"pred_{family}_high": high})


def family_metrics(
    parts: Mapping[str, pd.DataFrame], families: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """``{family: {part: the five metrics}}`` of predictions frames by part (val, test)."""
    return {
        family: {
            part: regression_metrics(frame["y_true_log"].to_numpy(), frame[f"pred_{family}_log"].to_numpy())
            for part, frame in parts.items()
        }
        for family in families
    }
