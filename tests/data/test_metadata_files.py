"""The Parquet files between the scan and the horizons."""

import io

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.data import metadata_files, metadata_scan
from clipfarm_tasks.data.cells import UNDECODABLE
from clipfarm_tasks.data.metadata_files import MOST_HORIZONS_NAMED, HorizonFile, write_horizons
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Horizon
from tests.data.metadata_csv import HEADER, WHERE, row, scan, select, to_csv


def test_each_file_holds_the_rows_of_its_horizon_in_file_order():
    body = to_csv([row(f"v{i}", days=(7, 30, 7)[i % 3]) for i in range(9)])
    files = scan(body)
    assert files[Horizon.D7].column("video_id").to_pylist() == ["v0", "v2", "v3", "v5", "v6", "v8"]
    assert files[Horizon.D30].column("video_id").to_pylist() == ["v1", "v4", "v7"]


def test_facts_are_those_of_the_whole_file_and_travel_with_every_horizon():
    body = to_csv([row("a"), row("", days=30), row("b", days="week"), row("c", days=14.5)]) + b"ragged\r\n"
    written = write_horizons(
        io.BytesIO(body), WHERE, {horizon: io.BytesIO() for horizon in Horizon}, FeatureSet.V2_LOG_COUNTS
    )
    assert written.header == tuple(HEADER)
    assert written.rows_read == 5
    assert written.dropped == {
        "ragged_row": 1,
        "missing_video_id": 1,
        "undecodable_video_id": 0,
        "unusable_horizon": 1,
    }
    assert written.horizons == (7.0, 14.5)
    assert written.rows == {Horizon.D7: 1, Horizon.D30: 0}
    assert [file.facts for file in scan(body).values()] == [written, written]


def test_missing_unreadable_and_undecodable_stay_apart():
    header = [*HEADER, "is_short"]
    rows = [
        [*row(f"v{i}", duration=d, query=q), s] for i, (d, q, s) in enumerate(zip("1x ", "q\xe9 ", "1x ", strict=True))
    ]
    file = scan(to_csv(rows, header).replace("\xe9".encode(), b"\xe9"))[Horizon.D7]
    for name in ("duration_seconds", "is_short"):
        cells = file.column(name)
        assert cells.is_null().to_pylist() == [False, False, True]
        assert pc.is_nan(cells).to_pylist() == [False, True, None]
    assert file.column("query").to_pylist() == ["q", UNDECODABLE, None]


def test_row_groups_are_filled_over_blocks_and_text_stays_a_dictionary(monkeypatch):
    monkeypatch.setattr(metadata_scan, "BLOCK_BYTES", 300)
    monkeypatch.setattr(metadata_files, "GROUP_ROWS", 20)
    file = io.BytesIO()
    write_horizons(
        io.BytesIO(to_csv([row(f"v{i}", query=f"q{i}") for i in range(50)])),
        WHERE,
        {Horizon.D7: file},
        FeatureSet.V2_LOG_COUNTS,
    )
    parquet = pq.ParquetFile(file)
    groups = [parquet.metadata.row_group(index) for index in range(parquet.num_row_groups)]
    assert all(group.num_rows >= 20 for group in groups[:-1])
    assert len(groups) >= 2
    query = parquet.schema_arrow.names.index("query")
    assert all("RLE_DICTIONARY" in group.column(query).encodings for group in groups)
    column = HorizonFile(file).column("query")
    assert column.type == metadata_scan.CATEGORY
    assert column.to_pylist() == [f"q{i}" for i in range(50)]


def test_a_name_with_a_dot_is_not_mistaken_for_its_beginning():
    header = [*HEADER, "music", "music.seconds"]
    file = scan(to_csv([[*row(f"v{i}"), str(i), str(i + 10)] for i in range(3)], header))[Horizon.D7]
    assert file.column("music").to_pylist() == [0, 1, 2]
    assert file.column("music.seconds").to_pylist() == [10, 11, 12]


def test_a_column_of_horizons_gone_wrong_does_not_fill_the_message():
    rows = [row(f"v{i}", days=str(i + 100)) for i in range(5 * MOST_HORIZONS_NAMED)]
    named = ", ".join(str(100 + i) for i in range(MOST_HORIZONS_NAMED))
    with pytest.raises(DataError, match=rf"got horizons \[{named}\], in s3://"):
        select(to_csv(rows))


def test_a_horizon_without_rows_is_no_error_of_the_scan():
    files = scan(to_csv([row()]))
    assert {horizon: file.rows for horizon, file in files.items()} == {Horizon.D7: 1, Horizon.D30: 0}
    assert files[Horizon.D30].schema == files[Horizon.D7].schema


def test_equal_bytes_give_equal_files():
    rows = [row(f"v{i}", query=f"q{i % 5}", duration=str(np.sin(i))) for i in range(200)]
    written = []
    for _ in range(2):
        file = io.BytesIO()
        write_horizons(io.BytesIO(to_csv(rows)), WHERE, {Horizon.D7: file}, FeatureSet.V2_LOG_COUNTS)
        written.append(file.getvalue())
    assert written[0] == written[1]
