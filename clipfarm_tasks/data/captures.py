"""When a row was captured, and which row of a video is the latest or the nearest to its publication."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# Numbers that are times: those of the years 2001 to 2099, in seconds, milliseconds, microseconds or nanoseconds since
# 1970. These ranges do not meet, and a date like 20260301 or 202603011200 lies outside of them.
_SINCE_1970 = r"^\d{9,19}(\.\d*)?$|^\d(\.\d+)?[eE]\+?(0?[89]|1[0-8])$"
_FIRST_SECOND, _END_SECOND = 1e9, 4.1e9


def parse_times(texts: pa.Array) -> NDArray[np.datetime64]:
    """Read ISO 8601 text with any offset, or the time since 1970 as a number, as UTC; a text without offset is UTC.

    Args:
        texts: (N,) string, or numbers.

    Returns:
        (N,) datetime64[us]: NaT where null or unreadable.
    """
    texts = pc.cast(texts, pa.string())
    try:
        # All with an offset, which is the rule, and no Python object is made of a cell.
        return np.array(pc.cast(texts, pa.timestamp("us", "UTC")), "datetime64[us]")
    except pa.ArrowInvalid:
        is_number = pc.fill_null(pc.match_substring_regex(texts, _SINCE_1970), False)
    times = _iso_times(pc.if_else(is_number, None, texts))
    numbers = pc.indices_nonzero(is_number).to_numpy()
    times[numbers] = _times_since_1970(pc.cast(texts.take(pa.array(numbers)), pa.float64()).to_numpy())
    return times


def _times_since_1970(numbers: NDArray[np.float64]) -> NDArray[np.datetime64]:
    """(N,) datetime64[us] of numbers whose size tells their unit; NaT where it tells none."""
    times = np.full(numbers.shape, "NaT", "datetime64[us]")
    for unit in (1.0, 1e3, 1e6, 1e9):  # parts of a second
        inside = (numbers >= _FIRST_SECOND * unit) & (numbers < _END_SECOND * unit)
        times[inside] = np.round(numbers[inside] / unit * 1e6).astype(np.int64).astype("datetime64[us]")
    return times


def _iso_times(texts: pa.Array) -> NDArray[np.datetime64]:
    """(N,) datetime64[us] of ISO 8601 text; NaT where null or unreadable."""
    # pandas reads "now" and "today" as times; a pure function must not look at the clock.
    dated = pc.match_substring_regex(texts, r"^\d{4}")
    # One cell with more digits would make it count all of them in nanoseconds, which do not reach the year 2263.
    micro = pc.replace_substring_regex(texts, r"(\.\d{6})\d+", r"\1")
    plain = pc.if_else(dated, micro, None).to_numpy(zero_copy_only=False)
    index = pd.to_datetime(pd.Series(plain, dtype=object), format="ISO8601", utc=True, errors="coerce")
    times: NDArray[np.datetime64] = index.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    return times


def time_text(times: NDArray[np.datetime64]) -> pa.Array:
    """Write times as ISO 8601 text whose alphabetical order is their order.

    Args:
        times: (N,) datetime64[us], UTC.

    Returns:
        (N,) string: ``2026-03-01T00:00:00.000000Z``, null for NaT.
    """
    # Arrow's own text of a time with a zone takes 30 times as long: it looks the zone up for each.
    spaced = pc.cast(pa.array(times, pa.timestamp("us")), pa.string())
    return pc.binary_join_element_wise(pc.replace_substring(spaced, " ", "T"), "Z", "")


def latest_rows(video_ids: pa.Array, captured_at: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Choose one row per video: the latest capture; among equal ones the last in file order.

    Args:
        video_ids: (N,) text.
        captured_at: (N,) datetime64[us]; NaT, an absent or unreadable time, is older than any time.

    Returns:
        (M,) int64 positions of the chosen rows, in ascending order of their video_id.
    """
    # No time is older than any time; the sort is stable, so file order decides among equal ones.
    return _last_of_each(video_ids, pa.array(captured_at, pa.timestamp("us")), ("ascending", "at_start"))


def nearest_rows(
    video_ids: pa.Array, captured_at: NDArray[np.datetime64], published_at: NDArray[np.datetime64]
) -> NDArray[np.int64]:
    """Choose one row per video: the capture nearest to its publication; among equal ones the last in file order.

    Args:
        video_ids: (N,) text.
        captured_at: (N,) datetime64[us]; a capture without a time is farther away than any other.
        published_at: (N,) datetime64[us]; of captures without a publication the first is the nearest.

    Returns:
        (M,) int64 positions of the chosen rows, in ascending order of their video_id, as of `latest_rows`.
    """
    since = np.where(np.isnat(published_at), np.datetime64(0, "us"), published_at)
    away = np.abs((captured_at - since).astype("timedelta64[us]"))
    return _last_of_each(video_ids, pa.array(away, pa.duration("us")), ("descending", "at_start"))


def _last_of_each(video_ids: pa.Array, values: pa.Array, order: tuple[str, str]) -> NDArray[np.int64]:
    """(M,) positions of each video's last row in the order of its values."""
    rows = pa.table({"video_id": video_ids, "value": values})
    positions = pc.sort_indices(rows, sort_keys=[("video_id", "ascending", "at_start"), ("value", *order)])
    ordered = rows["video_id"].take(positions).combine_chunks()
    followed = pc.equal(ordered[1:], ordered[:-1]).to_numpy(zero_copy_only=False)
    chosen: NDArray[np.int64] = positions.to_numpy()[np.append(~followed, True)[: len(positions)]].astype(np.int64)
    return chosen
