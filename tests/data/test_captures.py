"""Capture times, and the latest row of a video."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from clipfarm_tasks.data.captures import latest_rows, nearest_rows, parse_times, time_text


@pytest.mark.parametrize("text", ["now", "today", "10/11/2022", "2026-13-01", "", "1641744000x"])
def test_what_is_no_iso_time_is_missing_and_the_clock_is_never_read(text):
    assert np.isnat(parse_times(pa.array([text], pa.string()))).all()


OFFSET = [
    "2026-03-01T00:00:00Z",
    "2026-03-01T09:30:00.5+09:30",
    "2026-03-01 00:00:00-0330",
    "1600-02-29T23:59:59.999999+00:00",
    "1969-12-31T23:59:59.999999Z",
    "9999-12-31T23:59Z",
]
BARE = ["2026-03-01", "2026-03-01T12", "2026-03-01 12:30:00", "20260301"]


@pytest.mark.parametrize("texts", [OFFSET, BARE, OFFSET + BARE], ids=["offset", "bare", "both"])
def test_times_are_those_of_the_standard_library(texts):
    read = [datetime.fromisoformat(text) for text in texts]
    expected = [
        (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC).replace(tzinfo=None) for time in read
    ]
    times = parse_times(pa.array(texts))
    assert times.dtype == "datetime64[us]"
    assert times.tolist() == expected


def test_a_time_does_not_depend_on_the_cells_around_it():
    texts = [
        *OFFSET,
        *BARE,
        None,
        "now",
        "2026-03-01T00:00:00.123456789Z",
        "1960-01-01T00:00:00.1234567",
        "2026-02-30T00:00Z",
        "1772323200",
        "1772323200123.0",
        "1.7723232e+09",
    ]
    alone = np.concatenate([parse_times(pa.array([text], pa.string())) for text in texts])
    np.testing.assert_array_equal(parse_times(pa.array(texts)), alone)
    assert np.isnat(alone).sum() == 3


MOMENT = datetime(2026, 3, 1, 0, 0, 0, 250000, tzinfo=UTC)


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize("write", ["{:.0f}", "{:.1f}", "{:.12e}", "{!r}"])
def test_times_since_1970_are_those_of_the_standard_library(unit, write):
    text = write.format(MOMENT.timestamp() * unit)
    expected = datetime.fromtimestamp(float(text) / unit, UTC).replace(tzinfo=None)
    assert abs(parse_times(pa.array([text]))[0].item() - expected).total_seconds() < 1e-5


@pytest.mark.parametrize(
    "text", ["0", "86400", "99999999", "10000000000", "20260301120000", "1e300", "-1772323200", "nan"]
)
def test_other_numbers_are_no_times(text):
    assert np.isnat(parse_times(pa.array([text]))).all()


def test_seconds_since_1970_are_those_of_2001_to_2099():
    texts = ["999999999", "1000000000", "4099999999", "4100000000"]
    found = parse_times(pa.array(texts)).tolist()
    inside = [datetime.fromtimestamp(int(text), UTC).replace(tzinfo=None) for text in texts[1:3]]
    assert found == [None, *inside, None]


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.timestamp("us"), pa.timestamp("ms", "UTC")])
def test_times_are_read_from_any_type(kind):
    seconds = 1772323200
    cells = pa.array([seconds, None], pa.int64())
    if pa.types.is_timestamp(kind):
        cells = pa.array([seconds * 10 ** (6 if kind.unit == "us" else 3), None], pa.int64())
    expected = np.array([datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None), None], "datetime64[us]")
    np.testing.assert_array_equal(parse_times(pc.cast(cells, kind)), expected)


def test_time_text_sorts_as_time():
    texts = pa.array(["2026-03-01T00:00:00Z", "2026-03-01T00:00:00.5Z", "2026-02-28T23:00:00-02:00", None])
    times = parse_times(texts)
    written = time_text(times)
    assert written.null_count == 1
    assert written[:3].take(np.argsort(times[:3])).to_pylist() == sorted(written[:3].to_pylist())
    np.testing.assert_array_equal(parse_times(written), times)


def test_time_text_is_that_of_numpy():
    rng = np.random.default_rng(3)
    times = rng.integers(-(2**55), 2**55, 1000).astype("datetime64[us]")
    assert time_text(times).to_pylist() == np.datetime_as_string(times, unit="us", timezone="UTC").tolist()


def test_latest_rows_are_those_of_a_walk_through_the_file():
    rng = np.random.default_rng(5)
    ids = rng.choice(["a", "B", "b", "\u00e9", "\uffff", "\U0001f600"], 200)
    for several in (1, 3, 1000):
        times = rng.integers(0, several, len(ids)).astype("datetime64[us]")
        times[rng.random(len(ids)) < 0.4] = "NaT"
        walked = {}
        for row, (video, time) in enumerate(zip(ids, times, strict=True)):
            best = walked.get(video)
            if best is None or np.isnat(times[best]) or time >= times[best]:
                walked[video] = row
        assert latest_rows(pa.array(ids), times).tolist() == [walked[video] for video in sorted(walked)]


def test_latest_rows_of_nothing():
    assert latest_rows(pa.array([], pa.string()), np.array([], dtype="datetime64[us]")).size == 0


def test_nearest_rows_are_those_of_a_walk_through_the_file():
    rng = np.random.default_rng(6)
    ids = rng.choice(["a", "B", "b", "\u00e9"], 200)
    published = dict(zip("aBb", rng.integers(10, 30, 3).astype("datetime64[D]"), strict=True))  # of \u00e9 nobody knows
    published_at = np.array([published.get(video, "NaT") for video in ids], "datetime64[us]")
    captured_at = rng.integers(0, 40, len(ids)).astype("datetime64[D]").astype("datetime64[us]")
    captured_at[rng.random(len(ids)) < 0.3] = "NaT"
    day = np.timedelta64(1, "D")
    walked = {}
    for row, video in enumerate(ids):
        since = np.datetime64(0, "us") if np.isnat(published_at[row]) else published_at[row]
        away = np.inf if np.isnat(captured_at[row]) else abs((captured_at[row] - since) / day)
        if video not in walked or away <= walked[video][1]:
            walked[video] = (row, away)
    found = nearest_rows(pa.array(ids), captured_at, published_at)
    assert found.tolist() == [walked[video][0] for video in sorted(walked)]
