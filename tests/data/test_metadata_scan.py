"""From the bytes of the metadata CSV to typed rows."""

import io

import numpy as np
import pytest

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.data import metadata_scan
from clipfarm_tasks.data.metadata_scan import MetadataScan
from clipfarm_tasks.errors import DataError, TransientError
from clipfarm_tasks.families import Horizon
from tests.data.metadata_csv import HEADER, WHERE, every_row_accounted_for, row, scan, select, to_csv

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

    monkeypatch.setattr(metadata_scan, "BLOCK_BYTES", 97)
    found = select(Trickle(body))
    assert found.frame["duration_seconds"].tolist() == list(range(300))
    assert every_row_accounted_for(found, 300)


def test_dropped_texts_are_never_converted():
    scan_of = MetadataScan(io.BytesIO(to_csv([row(title="secret")])), WHERE, FeatureSet.V2_LOG_COUNTS)
    assert "title" in scan_of.header
    assert [table.column_names for table in scan_of] == [scan_of.schema.names]
    assert "title" not in scan_of.schema.names


def test_columns_other_than_the_required_three_may_be_missing():
    found = select(to_csv([["a", 7, 3], ["b", 7, 4]], ["video_id", "horizon_days", "horizon_view_count"]))
    unknown = ["channel_id", "captured_at", "published_at"]
    assert found.frame.columns.tolist() == ["video_id", *unknown, "target_raw", "target_log"]
    assert found.frame[unknown].isna().all(axis=None)


def test_a_creator_that_cannot_be_read_is_unknown():
    header = ["video_id", "horizon_days", "horizon_view_count", "channel_id"]
    body = to_csv([["a", 7, 3, "c1"], ["b", 7, 4, " "], ["c", 7, 5, "?"]], header).replace(b"?", b"\xff")
    assert select(body).frame["channel_id"].fillna("").tolist() == ["c1", "", ""]


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


def test_a_failing_source_keeps_its_own_error(monkeypatch):
    class Reset(io.BytesIO):
        def read(self, size=-1):
            part = super().read(size)
            if not part:
                raise TransientError("connection reset")
            return part

    monkeypatch.setattr(metadata_scan, "BLOCK_BYTES", 150)
    with pytest.raises(TransientError, match="connection reset"):
        scan(Reset(to_csv([row(f"v{i}") for i in range(20)])))


def test_the_source_is_read_once_from_front_to_back(monkeypatch):
    class Pipe(io.RawIOBase):
        """Can do nothing but be read; counts the bytes it gave."""

        def __init__(self, body):
            self.body, self.given = io.BytesIO(body), 0

        def read(self, size=-1):
            part = self.body.read(size)
            self.given += len(part)
            return part

    monkeypatch.setattr(metadata_scan, "BLOCK_BYTES", 150)
    body = to_csv([row(f"v{i}", days=days) for i in range(40) for days in (7, 30)])
    pipe = Pipe(body)
    files = scan(pipe)
    assert pipe.given == len(body)
    assert [file.rows for file in files.values()] == [40, 40]


def test_blanks_around_column_names_are_no_part_of_them():
    body = to_csv([row("a"), row("b")], [f" {name} " for name in HEADER])
    file = scan(body)[Horizon.D7]
    assert file.facts.header == tuple(HEADER)
    assert file.column("duration_seconds").to_pylist() == [12, 12]
    with pytest.raises(DataError, match="got column 'query' repeated"):
        scan(to_csv([], [*HEADER, "query "]))


def test_columns_without_a_name_may_repeat():
    found = select(to_csv([["1", *row("a"), "", "9"]], ["", *HEADER, "", " "]))
    assert found.frame["video_id"].tolist() == ["a"]


def test_a_header_may_have_very_many_columns():
    many = [*HEADER, *(f"c{i}_id" for i in range(200_000))]
    with pytest.raises(DataError, match="got column 'c0_id' repeated"):
        scan(to_csv([], [*many, "c0_id"]))


def test_the_first_unreadable_cell_of_a_column_is_kept(monkeypatch):
    monkeypatch.setattr(metadata_scan, "BLOCK_BYTES", 400)
    rows = [row(f"v{i}") for i in range(20)]
    rows[9][5], rows[15][5] = "twelve " * 20, "ten"
    rows[3][1], rows[4][6] = "soon", "\xe9"
    facts = scan(to_csv(rows).replace("\xe9".encode(), b"\xe9"))[Horizon.D7].facts
    assert facts.examples == {"duration_seconds": ("twelve " * 20)[:40], "captured_at": "soon", "query": "\\xe9"}
