"""When a row was captured, and which row of a video is the latest."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def parse_times(texts: pa.Array) -> NDArray[np.datetime64]:
    """Read ISO 8601 text with any offset as UTC; a text without offset is UTC.

    Args:
        texts: (N,) string.

    Returns:
        (N,) datetime64[us]: NaT where null or unreadable.
    """
    # pandas reads "now" and "today" as times; a pure function must not look at the clock.
    dated = pc.match_substring_regex(texts, r"^\d{4}")
    plain = pc.if_else(dated, texts, None).to_numpy(zero_copy_only=False)
    index = pd.to_datetime(pd.Series(plain, dtype=object), format="ISO8601", utc=True, errors="coerce")
    times: NDArray[np.datetime64] = index.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    return times


def time_text(times: NDArray[np.datetime64]) -> NDArray[np.object_]:
    """Write times as ISO 8601 text whose alphabetical order is their order.

    Args:
        times: (N,) datetime64[us], UTC.

    Returns:
        (N,) object: ``2026-03-01T00:00:00.000000Z``, None for NaT.
    """
    texts: NDArray[np.object_] = np.datetime_as_string(times, unit="us", timezone="UTC").astype(object)
    texts[np.isnat(times)] = None
    return texts


def latest_rows(video_ids: NDArray[np.object_], captured_at: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Choose one row per video: the latest capture; among equal ones the last in file order.

    Args:
        video_ids: (N,) text.
        captured_at: (N,) datetime64[us]; NaT, an absent or unreadable time, is older than any time.

    Returns:
        (M,) int64 positions of the chosen rows, in ascending order of their video_id.
    """
    codes, _ = pd.factorize(video_ids, sort=True)
    # NaT is the smallest int64; the sort is stable, so file order decides among equal times.
    order = np.lexsort((captured_at.astype(np.int64), codes))
    last = np.append(codes[order][1:] != codes[order][:-1], True)[: len(codes)]
    chosen: NDArray[np.int64] = order[last].astype(np.int64)
    return chosen
