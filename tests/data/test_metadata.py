"""Reading the metadata CSV and choosing one labelled row per video."""

import contextlib
import csv
import io

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.data import csv_guard, metadata
from clipfarm_tasks.data.metadata import HorizonRows, read_metadata, select_horizon
from clipfarm_tasks.errors import DataError, TransientError
from clipfarm_tasks.families import Horizon

WHERE = "s3://bucket/metadata.csv"
HEADER = ["video_id", "captured_at", "horizon_days", "horizon_view_count", "title", "duration_seconds", "query"]


def to_csv(rows, header=HEADER, **options):
    text = io.StringIO(newline="")
    writer = csv.writer(text, **options)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def row(video_id="a", captured_at="2026-03-01T00:00:00Z", days=7, views="10", title="t", duration="12", query="q"):
    return [video_id, captured_at, days, views, title, duration, query]


def select(body: bytes, horizon=Horizon.D7) -> HorizonRows:
    return select_horizon(read_metadata(io.BytesIO(body), WHERE), horizon, WHERE)


def with_column(name, values):
    rows = [[*row(video_id=f"v{i:02d}", duration=str(i)), value] for i, value in enumerate(values)]
    return select(to_csv(rows, [*HEADER, name]))


def every_row_accounted_for(rows: HorizonRows, total: int) -> bool:
    return rows.rows_read == total == len(rows.frame) + sum(rows.dropped.values())


# What the rules allow is loaded.


@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_mark_change_nothing(line_end, mark):
    rows = [row("b", views="7"), row("a", title='two\nlines, a comma and a "quote"')]
    found = select(mark + to_csv(rows, lineterminator=line_end))
    assert found.frame["video_id"].tolist() == ["a", "b"]
    assert found.frame["target_raw"].tolist() == [10.0, 7.0]
    assert found.dropped == {}


def test_quoted_text_over_lines_survives_every_chunking(monkeypatch):
    noise = np.random.default_rng(5)
    titles = ["".join(noise.choice(list('ab"",\n\r '), noise.integers(12))) for _ in range(300)]
    body = to_csv([row(f"v{i:03d}", title=title, duration=str(i)) for i, title in enumerate(titles)])

    class Trickle(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, int(noise.integers(1, 9))) if size > 0 else size)

    monkeypatch.setattr(metadata, "BLOCK_BYTES", 97)
    found = select_horizon(read_metadata(Trickle(body), WHERE), Horizon.D7, WHERE)
    assert found.frame["duration_seconds"].tolist() == list(range(300))
    assert every_row_accounted_for(found, 300)


def test_plain_quotes_inside_unquoted_fields_are_characters():
    body = to_csv([row("a"), row("b")]).replace(b",t,", b',5" screen "" x,')
    assert body.count(b'"') == 6
    assert len(select(body).frame) == 2


@pytest.mark.parametrize("block", range(90, 150, 7))
def test_plain_quotes_are_characters_wherever_a_block_ends(monkeypatch, block):
    monkeypatch.setattr(metadata, "BLOCK_BYTES", block)
    body = to_csv([row(f"v{i}", title="PLAIN") for i in range(9)]).replace(b"PLAIN", b'5" by 7" "" print')
    assert len(select(body).frame) == 9


def test_dropped_texts_are_never_converted():
    table = read_metadata(io.BytesIO(to_csv([row(title="secret")])), WHERE)
    assert "title" in table.header
    assert "title" not in table.table.column_names


def test_frame_holds_nothing_but_id_time_target_and_features():
    header = [*HEADER, "view_count", "views_per_hour", "age_days", "channel_id", "url", "published_at", "is_short"]
    rows = [[*row(v), "9", "1.5", "7.5", "c1", "http://x", "2026-02-01T23:30:00-05:00", "Yes"] for v in ("a", "b")]
    found = select(to_csv(rows, header))
    numeric = ["duration_seconds", "is_short", "published_hour", "published_weekday"]
    assert found.frame.columns.tolist() == ["video_id", "captured_at", "target_raw", "target_log", *numeric, "query"]
    assert found.spec.numeric_cols == tuple(numeric)
    assert found.spec.excluded_high_card == ("channel_id",)
    assert {"view_count", "views_per_hour", "age_days"} < set(found.spec.excluded_leakage)
    assert {"url", "title", "published_at"} < set(found.spec.dropped_metadata_cols)
    # 23:30 at UTC-5 on Sunday 2026-02-01 is 04:30 UTC on Monday.
    assert found.frame.loc[0, ["published_hour", "published_weekday", "is_short"]].tolist() == [4, 0, 1]


def test_columns_other_than_the_required_three_may_be_missing():
    found = select(to_csv([["a", 7, 3], ["b", 7, 4]], ["video_id", "horizon_days", "horizon_view_count"]))
    assert found.frame.columns.tolist() == ["video_id", "captured_at", "target_raw", "target_log"]
    assert found.frame["captured_at"].tolist() == [None, None]


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


# Rule 2: the target.


def test_unusable_labels_are_dropped_and_counted_never_zero():
    views = ["10", "", "nan", "many", "-3", "1e3", " 12 ", "inf", "0"]
    found = select(to_csv([row(f"v{i}", views=value) for i, value in enumerate(views)]))
    assert dict(zip(found.frame["video_id"], found.frame["target_raw"], strict=True)) == {
        "v0": 10,
        "v4": 0,
        "v5": 1000,
        "v6": 12,
        "v8": 0,
    }
    assert found.dropped == {"missing_label": 3, "unparsable_label": 1}
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
    assert found.unreadable == {"hashtag_count": 3}
    assert found.missing_rate["hashtag_count"] == pytest.approx(6 / 11)


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


# Bad input: counted, or refused with line or column.


def test_ragged_rows_are_counted():
    body = to_csv([row("a"), row("b")]) + b"c,too,short\r\n" + to_csv([[*row("d"), "long"]])[len(to_csv([])) :]
    found = select(body)
    assert found.frame["video_id"].tolist() == ["a", "b"]
    assert found.dropped == {"ragged_row": 2}
    assert every_row_accounted_for(found, 4)


def test_rows_that_do_not_name_their_video_are_counted():
    body = to_csv([row("a"), row(""), row("  "), row("caf\xe9")]).replace("\xe9".encode(), b"\xe9")
    found = select(body)
    assert found.dropped == {"missing_video_id": 2, "undecodable_video_id": 1}
    assert every_row_accounted_for(found, 4)


def test_bytes_that_are_not_utf8_are_counted_where_they_matter():
    body = to_csv([row("a", title="\xe9"), row("b", query="\xe9"), row("c", duration="\xe9"), row("d", query="")])
    found = select(body.replace("\xe9".encode(), b"\xe9"))
    assert found.frame["query"].tolist() == ["q", None, "q", None]
    assert found.unreadable == {"duration_seconds": 1, "query": 1}
    assert found.dropped == {}


def test_unusable_horizons_are_counted():
    found = select(
        to_csv([row("a"), row("b", days="week"), row("c", days=""), row("d", days=30), row("e", days="7.0")])
    )
    assert found.frame["video_id"].tolist() == ["a", "e"]
    assert found.dropped == {"unusable_horizon": 2, "other_horizon": 1}


def test_no_rows_for_the_horizon():
    with pytest.raises(DataError, match=r"expected rows with horizon_days = 30, got horizons \[7\], in s3://bucket/"):
        select(to_csv([row()]), Horizon.D30)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "got an empty file, in s3://bucket/metadata.csv"),
        (b"\xef\xbb\xbf", "got an empty file"),
        (b"\r\n\r\n", "got an empty file"),
        (to_csv([]), "expected rows of 7 fields, got a header only, in s3://"),
        (to_csv([["a", "b"]]), "expected rows of 7 fields, got 1 rows with another count, in s3://"),
        (to_csv([], ["video_id", "title", "title"]), "expected every column once, got column 'title' repeated, in s3"),
        (to_csv([row()], ["id", *HEADER[1:]]), "expected the columns .*, got none named video_id, in s3://"),
        (to_csv([], ["video_id"]), "got none named horizon_days, horizon_view_count, in s3://"),
        (to_csv([]).replace(b"title", b"\xff"), r"expected printable UTF-8 column names, got '\\udcff', in s3://"),
    ],
)
def test_files_without_usable_header_or_rows_are_refused(body, message):
    with pytest.raises(DataError, match=message):
        select(body)


def test_an_unclosed_quote_is_refused_with_its_line():
    body = to_csv([row("a"), row("b"), row("c")]).replace(b"b,2026", b'b,"2026')
    with pytest.raises(DataError, match="got the end of the file in the field that opens on line 3, in s3://"):
        select(body)


def test_a_quote_that_swallows_rows_up_to_the_next_quote_is_refused_with_its_line():
    body = to_csv([row("a", title="T"), row("b"), row("c", title="x, y"), row("d")]).replace(b",T,", b',"T,')
    with pytest.raises(DataError, match=r"comma or a line end after a closing quote, got b'\"x, y.* on line 4, in s3"):
        select(body)


def test_the_line_of_an_unclosed_quote_is_where_its_field_opens():
    body = to_csv([row("a"), row("b", title='two\nlines, "quoted"\ntwice')])
    with pytest.raises(DataError, match="in the field that opens on line 3, in s3://"):
        select(body[: body.index(b"twice")])


def quoting_by_hand(body: bytes) -> str:
    """RFC 4180 character by character; quotes inside an unquoted field are characters."""
    state = "start"
    for character in body.decode():
        if state == "quoted":
            state = "closing" if character == '"' else "quoted"
        elif character in ",\r\n":
            state = "start"
        elif state == "closing":
            if character != '"':
                return "expected a comma or a line end after a closing quote"
            state = "quoted"
        elif state == "start":
            state = "quoted" if character == '"' else "plain"
    return "expected every quoted field to be closed" if state == "quoted" else ""


def test_quoting_is_judged_as_by_hand(monkeypatch):
    monkeypatch.setattr(csv_guard, "_WINDOW", 3)
    draw = np.random.default_rng(11)
    verdicts = set()
    for _ in range(400):
        body = to_csv([row()]) + "".join(draw.choice(list('aa",\n"'), draw.integers(14))).encode()
        expected = quoting_by_hand(body)
        verdicts.add(expected)
        refused = pytest.raises(DataError, match=expected) if expected else contextlib.nullcontext()
        with refused:
            read_metadata(io.BytesIO(body), WHERE)
    assert len(verdicts) == 3


def test_an_unclosed_quote_in_a_large_file_is_refused_too(monkeypatch):
    monkeypatch.setattr(metadata, "BLOCK_BYTES", 200)
    body = to_csv([row(f"v{i}") for i in range(50)]).replace(b"v3,2026", b'v3,"2026')
    with pytest.raises(DataError, match=r"line 5.*in s3://"):
        select(body)


def test_a_failing_source_keeps_its_own_error(monkeypatch):
    class Reset(io.BytesIO):
        def read(self, size=-1):
            part = super().read(size)
            if not part:
                raise TransientError("connection reset")
            return part

    monkeypatch.setattr(metadata, "BLOCK_BYTES", 150)
    with pytest.raises(TransientError, match="connection reset"):
        read_metadata(Reset(to_csv([row(f"v{i}") for i in range(20)])), WHERE)
