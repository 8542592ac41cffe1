"""Choosing one labelled row per video of a horizon."""

import tracemalloc
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.data import metadata_files, metadata_horizon, metadata_scan
from clipfarm_tasks.data.cells import LARGEST_NUMBER
from clipfarm_tasks.data.column_cells import Flaw
from clipfarm_tasks.data.metadata_files import HorizonFile
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Horizon
from tests.data.metadata_csv import HEADER, WHERE, every_row_accounted_for, row, scan, select, to_csv, with_column


def test_frame_holds_nothing_but_id_time_target_and_features():
    header = [*HEADER, "view_count", "views_per_hour", "age_days", "channel_id", "url", "published_at", "is_short"]
    rows = [[*row(v), "9", "1.5", "7.5", "c1", "http://x", "2026-02-01T23:30:00-05:00", "Yes"] for v in ("a", "b")]
    found = select(to_csv(rows, header))
    numeric = ["duration_seconds", "is_short", "published_hour", "published_weekday"]
    times = ["captured_at", "published_at"]
    expected = ["video_id", "channel_id", *times, "target_raw", "target_log", *numeric, "query"]
    assert found.frame.columns.tolist() == expected
    assert found.frame["channel_id"].tolist() == ["c1", "c1"]
    assert found.frame["published_at"].tolist() == ["2026-02-02T04:30:00.000000Z"] * 2
    assert found.spec.numeric_cols == tuple(numeric)
    assert found.spec.excluded_high_card == ("channel_id",)
    assert {"view_count", "views_per_hour", "age_days"} < set(found.spec.excluded_leakage)
    assert {"url", "title", "published_at"} < set(found.spec.dropped_metadata_cols)
    # 23:30 at UTC-5 on Sunday 2026-02-01 is 04:30 UTC on Monday.
    assert found.frame.loc[0, ["published_hour", "published_weekday", "is_short"]].tolist() == [4, 0, 1]


# Rule 1: horizon and latest capture.


def test_latest_capture_wins_across_offsets():
    rows = [
        row(captured_at="2026-03-01T09:00:00+09:00", views="1"),  # 00:00 UTC
        row(captured_at="2026-03-01T01:00:00Z", views="2"),
        row(captured_at="2026-02-28T19:30:00-05:00", views="3"),  # 00:30 UTC
    ]
    found = select(to_csv(rows))
    assert found.frame["target_raw"].tolist() == [2.0]
    assert found.frame["captured_at"].tolist() == ["2026-03-01T01:00:00.000000Z"]
    assert found.dropped == {"superseded_capture": 2}


@pytest.mark.parametrize("time", ["2026-03-01T00:00:00Z", "yesterday", "now", ""])
def test_among_equal_or_unreadable_times_the_last_row_wins(time):
    rows = [row(captured_at=time, views=str(views)) for views in (5, 9, 7)]
    assert select(to_csv(rows)).frame["target_raw"].tolist() == [7.0]


def test_an_unreadable_time_is_older_than_any_time():
    rows = [row(captured_at="1971-01-01", views="5"), row(captured_at="soon", views="6")]
    assert select(to_csv(rows)).frame["target_raw"].tolist() == [5.0]


def test_unreadable_times_are_counted_and_become_missing():
    found = with_column("published_at", ["2026-03-01T05:00:00Z", "last week", ""])
    assert found.unreadable == {"published_hour": 1, "published_weekday": 1}
    assert found.frame["published_hour"].isna().tolist() == [False, True, True]
    assert select(to_csv([row(captured_at="soon")])).unreadable == {"captured_at": 1}


def test_latest_capture_equals_a_pandas_recomputation():
    draw = np.random.default_rng(3)
    rows = [
        row(f"v{draw.integers(40):02d}", f"2026-03-{draw.integers(1, 9):02d}T00:00:00Z", draw.choice([7, 30]), str(i))
        for i in range(400)
    ]
    frame = pd.DataFrame(rows, columns=HEADER)
    frame["views"] = frame["horizon_view_count"].astype(float)
    frame = frame[frame["horizon_days"] == 30].sort_values("captured_at", kind="stable")
    expected = frame.drop_duplicates("video_id", keep="last").sort_values("video_id")
    found = select(to_csv(rows), Horizon.D30)
    assert found.frame["video_id"].tolist() == expected["video_id"].tolist()
    assert found.frame["target_raw"].tolist() == expected["views"].tolist()
    assert every_row_accounted_for(found, 400)


def test_no_python_object_is_made_of_an_id():
    rows = 20_000
    body = to_csv([row(f"v{i}", views=str(i)) for i in np.random.default_rng(0).permutation(rows)])
    file = scan(body)[Horizon.D7]
    tracemalloc.start()
    try:
        metadata_horizon.select_horizon(file, Horizon.D7, WHERE, FeatureSet.V2_LOG_COUNTS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # What numpy and Python hold of a row: a few numbers. A short text alone takes 50 bytes, and 8 wherever it is named.
    assert peak / rows < 55


# Rule 2: the target.


def test_unusable_labels_are_dropped_and_counted_never_zero():
    views = ["10", "", "nan", "many", "-3", "1e3", " 12 ", "inf", "0", "1e39", "-1e300", "None"]
    found = select(to_csv([row(f"v{i}", views=value) for i, value in enumerate(views)]))
    assert dict(zip(found.frame["video_id"], found.frame["target_raw"], strict=True)) == {
        "v0": 10,
        "v4": 0,
        "v5": 1000,
        "v6": 12,
        "v8": 0,
    }
    assert found.dropped == {"missing_label": 3, "unparsable_label": 4}
    np.testing.assert_allclose(np.expm1(found.frame["target_log"]), found.frame["target_raw"])


def test_a_latest_row_without_label_is_not_replaced_by_an_older_one():
    rows = [row(), row(captured_at="2026-03-02", views=""), row("b")]
    found = select(to_csv(rows))
    assert found.frame["video_id"].tolist() == ["b"]
    assert found.dropped == {"superseded_capture": 1, "missing_label": 1}


def test_no_usable_label_at_all_is_refused():
    with pytest.raises(DataError, match=r"expected rows with a usable horizon_view_count, got none .*missing_label"):
        select(to_csv([row(views="")]))


# Rule 3: features.


def test_numbers_and_booleans_as_upstream_writes_them():
    found = with_column("has_hashtags", ["True", "FALSE", "1", "0", "yes", "No", "1.0", "", "maybe", "2"])
    np.testing.assert_array_equal(found.frame["has_hashtags"], [1, 0, 1, 0, 1, 0, 1, np.nan, np.nan, np.nan])
    assert found.unreadable == {"has_hashtags": 2}
    found = with_column(
        "hashtag_count", ["12", "12.0", "1e3", " 12 ", "+1", "inf", "NaN", "1,5", "0x10", "True", "1e999"]
    )
    expected = [12, 12, 1000, 12, 1, *[np.nan] * 6]
    np.testing.assert_array_equal(found.frame["hashtag_count"], expected)
    assert found.unreadable == {"hashtag_count": 5}
    assert found.report.missing_rate["hashtag_count"] == pytest.approx(6 / 11)


@pytest.mark.parametrize(
    ("name", "values", "kept"),
    [
        ("music_seconds", ["1", "2", ""], True),
        ("is_original_sound", ["True", "no", ""], True),
        ("music_mood", ["1", "calm", "2"], False),
        ("music_seconds", ["3", "3", "3"], False),
        ("music_seconds", ["", "", ""], False),
        ("music_id", ["1", "2", "3"], False),
        ("view_count_7d", ["1", "2", "3"], False),
        ("title_length", ["3", "3", "3"], True),
        ("title_length", ["", "", ""], False),
        ("title_length", ["3", "calm", ""], True),
    ],
)
def test_which_columns_become_numeric(name, values, kept):
    found = with_column(name, values)
    assert (name in found.spec.numeric_cols) is kept
    assert (name in found.frame.columns) is kept


def test_the_latest_capture_is_found_whatever_the_times_are_written_in():
    seconds = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp())
    times = ["2026-03-01T11:59:59Z", f"{seconds}", f"{(seconds + 1) * 1000}", f"{seconds - 60}.0", "None"]
    found = select(to_csv([row(captured_at=time, views=str(i)) for i, time in enumerate(times)]))
    assert found.frame["target_raw"].tolist() == [2.0]
    assert found.frame["captured_at"].tolist() == ["2026-03-01T12:00:01.000000Z"]


@pytest.mark.parametrize("cell", ["1e39", "-1e300", "inf", "3e38"])
def test_one_wild_number_is_missing_counted_and_shown(cell):
    found = with_column("channel_view_count", ["10", cell, "30"])
    np.testing.assert_array_equal(found.frame["channel_view_count"], [10, np.nan, 30])
    assert found.report.unreadable == {"channel_view_count": 1}
    assert found.report.examples == {"channel_view_count": cell}


def test_words_for_nothing_are_no_category():
    found = with_column("channel_country", ["US", "None", "nan", "NA", "N/A"])
    assert found.frame["channel_country"].tolist() == ["US", None, None, "NA", None]
    assert found.report.unreadable == {}


# Columns that cannot be read: limited, counted, named.


def test_a_known_column_written_in_another_way_is_refused_with_counts_and_a_cell():
    message = r"at least 50% .*, got unreadable 2 of 3 cells of title_length, such as 'twelve words', in s3://bucket/"
    with pytest.raises(DataError, match=message):
        with_column("title_length", ["12", "", "twelve words", "ten"])
    with pytest.raises(DataError, match=r"got unreadable 2 of 2 cells of is_short, such as '\[1\]'"):
        with_column("is_short", ["[1]", "[0]"])
    with pytest.raises(
        DataError, match="cells of published_hour, such as 'spring'; 1 of 1 cells of published_weekday, "
    ):
        with_column("published_at", ["spring"])


@pytest.mark.parametrize(
    ("values", "flaw"),
    [
        (["N/A", *map(str, range(30))], None),
        (["calm", *map(str, range(30))], None),
        (["calm", *map(str, range(19))], None),
        (["calm", *map(str, range(18))], Flaw.UNREADABLE),
        (["1e39", "inf"], Flaw.UNREADABLE),
        (["5", "", "5.0"], Flaw.CONSTANT),
        (["", "none"], Flaw.EMPTY),
    ],
)
def test_what_becomes_of_a_new_column_is_told(values, flaw):
    found = with_column("music_seconds", values)
    unreadable = sum(value in ("calm", "1e39", "inf") for value in values)
    if flaw is None:
        assert "music_seconds" in found.spec.numeric_cols
        assert found.report.unreadable == ({"music_seconds": 1} if unreadable else {})
        assert "music_seconds" not in found.report.unused
    else:
        filled = sum(value not in ("", "none") for value in values)
        told = {"readable": filled - unreadable, "unreadable": unreadable, "flaw": flaw}
        assert found.report.unused["music_seconds"].model_dump() == told
    assert found.report.examples == ({"music_seconds": values[0]} if unreadable else {})


def test_known_columns_that_are_empty_or_absent_are_told():
    found = with_column("title_length", ["", ""])
    assert found.report.unused["title_length"].flaw is Flaw.EMPTY
    assert "description_length" in found.report.absent
    assert not {"title_length", "duration_seconds", "published_hour", "channel_id"} & set(found.report.absent)


def test_an_unknown_column_is_judged_by_its_own_horizon():
    rows = [[*row("a"), "1"], [*row("b"), "2"], [*row("c", days=30), "n/a!"], [*row("d", days=30), "4"]]
    body = to_csv(rows, [*HEADER, "music_seconds"])
    assert "music_seconds" in select(body).spec.numeric_cols
    assert "music_seconds" not in select(body, Horizon.D30).spec.numeric_cols


def test_column_order_changes_nothing():
    rows = [row("a", duration="1"), row("b", duration="2")]
    turned = select(to_csv([list(reversed(cells)) for cells in rows], list(reversed(HEADER))))
    straight = select(to_csv(rows))
    pd.testing.assert_frame_equal(turned.frame, straight.frame)
    assert turned.spec == straight.spec


# Rows of no horizon.


def test_unusable_horizons_are_counted():
    found = select(
        to_csv([row("a"), row("b", days="week"), row("c", days=""), row("d", days=30), row("e", days="7.0")])
    )
    assert found.frame["video_id"].tolist() == ["a", "e"]
    assert found.dropped == {"unusable_horizon": 2, "other_horizon": 1}


def test_no_rows_for_the_horizon():
    with pytest.raises(DataError, match=r"expected rows with horizon_days = 30, got horizons \[7\], in s3://bucket/"):
        select(to_csv([row()]), Horizon.D30)


# The whole, once more.


def recomputed(cells, days):
    """Rows and counts of a horizon by the rules as they are written down, one row after the other, in plain Python."""
    whole = [dict(zip(HEADER, line, strict=True)) for line in cells if len(line) == len(HEADER)]
    named = [line for line in whole if line["video_id"].strip()]
    horizon = [number(line["horizon_days"]) for line in named]
    mine = [line for line, value in zip(named, horizon, strict=True) if value == days]
    latest = {}
    for line in mine:
        video_id = line["video_id"].strip()
        if video_id not in latest or instant(line["captured_at"]) >= instant(latest[video_id]["captured_at"]):
            latest[video_id] = line
    labels = {video_id: number(line["horizon_view_count"]) for video_id, line in latest.items()}
    unusable = sum(value in (MISSING, UNREADABLE) for value in horizon)
    counts = {
        "ragged_row": len(cells) - len(whole),
        "missing_video_id": len(whole) - len(named),
        "unusable_horizon": unusable,
        "other_horizon": len(named) - unusable - len(mine),
        "superseded_capture": len(mine) - len(latest),
        "missing_label": sum(label == MISSING for label in labels.values()),
        "unparsable_label": sum(label == UNREADABLE for label in labels.values()),
    }
    kept = sorted(video_id for video_id, label in labels.items() if label not in (MISSING, UNREADABLE))
    durations = [number(latest[video_id]["duration_seconds"]) for video_id in kept]
    frame = pd.DataFrame(
        {
            "video_id": pd.Series(kept, dtype=object),
            "target_raw": [max(labels[video_id], 0.0) for video_id in kept],
            "duration_seconds": [np.nan if value in (MISSING, UNREADABLE) else value for value in durations],
            "query": pd.Series([latest[video_id]["query"].strip() or None for video_id in kept], dtype=object),
        }
    )
    return frame, {reason: count for reason, count in counts.items() if count}, durations.count(UNREADABLE)


MISSING, UNREADABLE = "missing", "unreadable"


def number(text):
    if text.strip().lower() in ("", "nan"):
        return MISSING
    try:
        return float(text) if abs(float(text)) <= LARGEST_NUMBER else UNREADABLE
    except ValueError:
        return UNREADABLE


def instant(text):
    """Seconds; before everything where there is no time."""
    try:
        return datetime.fromisoformat(text.strip()).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return -np.inf


@pytest.mark.parametrize("seed", range(12))
def test_random_files_give_what_a_row_by_row_reading_gives(seed, monkeypatch):
    monkeypatch.setattr(metadata_scan, "BLOCK_BYTES", 400)
    monkeypatch.setattr(metadata_files, "GROUP_ROWS", 16)
    monkeypatch.setattr(metadata_horizon, "PART_ROWS", 7)
    draw = np.random.default_rng(seed)
    choices = {
        "video_id": [*(f"v{i:02d}" for i in range(40)), "", " v01 "],
        "captured_at": ["2026-03-01", "2026-03-02T05:00:00", "2026-03-02 05:00:00", "soon", ""],
        "horizon_days": ["7", "7.0", "30", "30", "", "week", "14"],
        "horizon_view_count": ["10", "-3", "1e3", "", "many", "inf", " 12 ", "0"],
        "title": ["plain", "two\nlines", 'a "quote", a comma', "", "x\r\ny"],
        "duration_seconds": ["12", "12.5", "13", "14", "", "long", "nan"],
        "query": ["cats", " dogs ", "", "caf\u00e9", 'say "hi"'],
    }
    cells = [[str(draw.choice(choices[name])) for name in HEADER] for _ in range(300)]
    cells = [line[: -1 if draw.random() < 0.02 else None] for line in cells]
    for horizon in Horizon:
        found = select(to_csv(cells), horizon)
        frame, dropped, unreadable = recomputed(cells, int(horizon))
        pd.testing.assert_frame_equal(found.frame[list(frame)], frame)
        assert found.dropped == dropped
        assert found.unreadable.get("duration_seconds", 0) == unreadable
        assert found.report.missing_rate == pytest.approx(frame[["duration_seconds", "query"]].isna().mean().to_dict())
        assert every_row_accounted_for(found, 300)


@pytest.mark.parametrize("part_rows", [1, 7, 50])
def test_the_size_of_a_part_changes_nothing(monkeypatch, part_rows):
    draw = np.random.default_rng(2)
    body = to_csv([row(f"v{i:02d}", duration=str(draw.integers(9)), query=f"q{i % 3}") for i in draw.permutation(50)])
    whole = select(body).frame
    monkeypatch.setattr(metadata_horizon, "PART_ROWS", part_rows)
    pd.testing.assert_frame_equal(select(body).frame, whole)


def test_every_column_is_read_once_however_many_parts_there_are(monkeypatch):
    monkeypatch.setattr(metadata_horizon, "PART_ROWS", 3)
    body = to_csv([row(f"v{i:02d}", duration=str(i)) for i in range(50)])
    file = scan(body)[Horizon.D7]
    rows = metadata_horizon.select_horizon(file, Horizon.D7, WHERE, FeatureSet.V2_LOG_COUNTS)
    read = []
    column = HorizonFile.column
    monkeypatch.setattr(HorizonFile, "column", lambda self, name: read.append(name) or column(self, name))
    assert len([*metadata_horizon.filtered_rows(file, rows)]) == 17
    # Both targets come from the label.
    named = ["video_id", "channel_id", "captured_at", "published_at", "duration_seconds", "query"]
    assert sorted(read) == sorted([*named, "horizon_view_count", "horizon_view_count"])


# Counters of the audience.


def captures(feature_set):
    """Two videos of three captures and one of one; the later, the more subscribers and videos, and the same age."""
    header = [*HEADER, "published_at", "channel_subscriber_count", "channel_video_count", "title_length"]
    rows = [
        [*row(video, f"2026-03-0{day}T00:00:00Z"), "2026-03-01T00:00:00Z", str(count + ord(video)), "5", str(day)]
        for video, days in (("a", (2, 3, 4)), ("b", (2, 3, 4)), ("c", (2,)))
        for day, count in zip(days, (10, 11, 12) if video == "a" else (10, 11, 10), strict=False)
    ]
    return select(to_csv(rows, header), feature_set=feature_set).report


def test_counters_that_moved_are_counted_among_the_videos_with_several_captures():
    for feature_set, moved in ((FeatureSet.V2_LOG_COUNTS, {"channel_subscriber_count": 0.5}), (FeatureSet.V3, {})):
        report = captures(feature_set)
        assert (report.captures_compared, report.counters_moved) == (2, moved)


def test_features_of_a_later_capture_than_promised_are_noticed(monkeypatch):
    moved = metadata_horizon.moved_counters
    monkeypatch.setattr(
        metadata_horizon,
        "moved_counters",
        lambda file, names, seen, nearest, compared: moved(file, names, np.array([2, 5, 6]), nearest, compared),
    )
    assert captures(FeatureSet.V3).counters_moved == {"channel_subscriber_count": 0.5}
