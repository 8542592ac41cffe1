"""Which slice each video of a pair is in, by every dimension that its data have."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clipfarm_tasks.slice_limits import CLOSED, EDGES, HOURS, MISSING, OTHER, Dimension, bin_names

LARGEST = 10
"""Values of a category that have a slice of their own: those with the most rows in the train part."""

_NUMBERS = {Dimension.CHANNEL_SIZE: "channel_subscriber_count", Dimension.DURATION: "duration_seconds"}
_HOUR = "published_hour"
_CATEGORIES = {
    Dimension.COUNTRY: "channel_country",
    Dimension.LANGUAGE: "default_language",
    Dimension.QUERY: "query",
}


@dataclass(frozen=True)
class Membership:
    """The slices of one dimension.

    Attributes:
        names: every slice, in the order of reports.
        of_video: the name of each video's slice, by video_id.
    """

    names: tuple[str, ...]
    of_video: "pd.Series[str]"


def memberships(rows: pd.DataFrame, features: pd.DataFrame) -> dict[Dimension, Membership]:
    """Slice N videos by all dimensions whose column is a feature of the run.

    Args:
        rows: N rows of the split manifest: video_id, split, text_present and creator among them.
        features: the same N rows' feature columns.
    """
    is_train = (rows["split"] == "train").to_numpy()
    seen = rows["creator"].isin(rows.loc[is_train, "creator"])
    found: dict[Dimension, tuple[tuple[str, ...], NDArray[np.object_]]] = {
        Dimension.TEXT_PRESENT: (CLOSED[Dimension.TEXT_PRESENT], _texts(rows["text_present"].astype(int).astype(str))),
        Dimension.CREATOR: (CLOSED[Dimension.CREATOR], np.where(seen, "seen", "unseen").astype(object)),
    }
    for dimension, column in _NUMBERS.items():
        if column in features:
            edges = EDGES[dimension]
            found[dimension] = CLOSED[dimension], _binned(features[column], edges, bin_names(edges))
    if _HOUR in features:
        hours = _binned(features[_HOUR], tuple(range(6, 24, 6)), HOURS)
        found[Dimension.HOUR] = CLOSED[Dimension.HOUR], hours
    for dimension, column in _CATEGORIES.items():
        if column in features:
            found[dimension] = _largest(features[column], is_train)
    return {
        dimension: Membership(names, pd.Series(of_row, index=rows["video_id"].to_numpy()))
        for dimension, (names, of_row) in found.items()
    }


def _texts(values: "pd.Series[str]") -> NDArray[np.object_]:
    found: NDArray[np.object_] = values.to_numpy(dtype=object)
    return found


def _binned(values: "pd.Series[float]", edges: tuple[int, ...], names: tuple[str, ...]) -> NDArray[np.object_]:
    """(N,) names: a bin holds its lower edge; `MISSING` of NaN."""
    numbers = values.to_numpy(dtype=np.float64)
    found = np.array(names, dtype=object)[np.searchsorted(edges, numbers, side="right")]
    return np.where(np.isnan(numbers), MISSING, found)


def _largest(values: "pd.Series[str]", is_train: NDArray[np.bool_]) -> tuple[tuple[str, ...], NDArray[np.object_]]:
    """The `LARGEST` values of the train part, then `OTHER` and `MISSING`; of equally many rows the smaller name."""
    escaped = values.map(_escaped, na_action="ignore")
    counts = escaped[is_train].value_counts().to_dict()  # without the missing ones
    largest = tuple(sorted(counts, key=lambda name: (-counts[name], name))[:LARGEST])
    found = np.where(escaped.isin(largest), escaped, OTHER)
    return (*largest, OTHER, MISSING), np.where(values.isna(), MISSING, found)


def _escaped(value: str) -> str:
    """A value whose name could be taken for `OTHER` or `MISSING` gets a second parenthesis, and so none can."""
    return f"({value}" if value.startswith("(") else value
