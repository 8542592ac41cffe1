"""Capture times, and the latest row of a video."""

import numpy as np
import pyarrow as pa
import pytest

from clipfarm_tasks.data.captures import latest_rows, parse_times, time_text


@pytest.mark.parametrize("text", ["now", "today", "10/11/2022", "2026-13-01", "", "1641744000x"])
def test_what_is_no_iso_time_is_missing_and_the_clock_is_never_read(text):
    assert np.isnat(parse_times(pa.array([text], pa.string()))).all()


def test_time_text_sorts_as_time():
    texts = pa.array(["2026-03-01T00:00:00Z", "2026-03-01T00:00:00.5Z", "2026-02-28T23:00:00-02:00", None])
    times = parse_times(texts)
    written = time_text(times)
    assert written[3] is None
    assert sorted(written[:3]) == written[np.argsort(times[:3])].tolist()
    assert (parse_times(pa.array(written, pa.string()))[:3] == times[:3]).all()


def test_latest_rows_of_nothing():
    assert latest_rows(np.array([], dtype=object), np.array([], dtype="datetime64[us]")).size == 0
