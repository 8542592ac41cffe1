"""The rows of a pair: videos that have a label, a fused vector and modality vectors."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from clipfarm_tasks.errors import DataError

_ROWS = ["video_id", "split", "text_present", "target_log", "target_raw", "creator"]


@dataclass(frozen=True)
class JoinedRows:
    """The rows a pair trains and is judged on.

    Attributes:
        frame: sorted by video_id: video_id, split, text_present (int64, 0 or 1), target_log, target_raw, creator
            (text).
        dropped: videos lost, by reason. no_fused_vector, then no_modality_vectors: labelled videos without;
            no_metadata: fused vectors without a labelled video.
    """

    frame: pd.DataFrame
    dropped: dict[str, int]


def join_pair(labelled: pd.DataFrame, fused_ids: Iterable[str], modality_rows: pd.DataFrame, where: str) -> JoinedRows:
    """Join on video_id, inner.

    Args:
        labelled: one row per labelled video that is in a part of the split: video_id, split, target_log, target_raw,
            creator.
        fused_ids: videos with a usable fused vector.
        modality_rows: one row per video with usable modality vectors: video_id, text_present (0 or 1).
        where: what is joined, for messages.

    Raises:
        DataError: a side repeats a video, or no video is on all three sides; says how many each side had.
    """
    fused = pd.Index(list(fused_ids), dtype=object)
    for side, ids in (
        ("metadata", labelled["video_id"]),
        ("fused vectors", fused),
        ("modality vectors", modality_rows["video_id"]),
    ):
        repeated = ids[ids.duplicated()]
        if len(repeated):
            raise DataError(f"expected each video once in {side}, got {next(iter(repeated))!r} repeated, in {where}")
    has_fused = labelled["video_id"].isin(fused)
    has_modalities = labelled["video_id"].isin(modality_rows["video_id"])
    dropped = {
        "no_metadata": int((~fused.isin(labelled["video_id"])).sum()),
        "no_fused_vector": int((~has_fused).sum()),
        "no_modality_vectors": int((has_fused & ~has_modalities).sum()),
    }
    complete = labelled[has_fused & has_modalities]
    if complete.empty:
        raise DataError(
            f"expected videos with a label, a fused vector and modality vectors, got none in common of "
            f"{len(labelled)} labelled, {len(fused)} fused and {len(modality_rows)} modality ids, in {where}"
        )
    frame = complete.merge(modality_rows[["video_id", "text_present"]], on="video_id", validate="one_to_one")
    frame["text_present"] = frame["text_present"].astype("int64")
    frame = frame[_ROWS].sort_values("video_id", ignore_index=True)
    return JoinedRows(frame, {reason: count for reason, count in dropped.items() if count})
