"""Rows wait on disk, can be read again and again, and leave nothing behind."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest

from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.vectors.row_spool import RowSpool, row_spool


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def batch(*numbers):
    return pa.record_batch({"n": pa.array(numbers, pa.int64())})


def test_all_rows_come_back_every_time():
    with row_spool() as spool:
        for numbers in ((1, 2), (3,), ()):
            spool.write(batch(*numbers))
        for _ in range(2):
            assert spool.to_reader().read_all()["n"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize("read", [False, True])
def test_nothing_stays_behind(folder, read):
    with row_spool() as spool:
        spool.write(batch(1))
        if read:
            spool.to_reader().read_all()
        assert not list(folder.iterdir())  # nor while it is in use: a killed process cannot clean up


def test_large_batch_is_cut_into_pieces(monkeypatch):
    monkeypatch.setattr("clipfarm_tasks.vectors.row_spool._PIECE_BYTES", 80)
    with row_spool() as spool:
        spool.write(batch(*range(25)))
        read = spool.to_reader().read_all()
    assert read["n"].to_pylist() == list(range(25))
    assert [len(chunk) for chunk in read["n"].chunks] == [10, 10, 5]


def test_full_disk_is_told():
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(ConfigError, match="room on disk"):
        RowSpool(full).write(batch(*range(100_000)))


def test_another_schema_is_refused():
    with row_spool() as spool:
        spool.write(batch(1))
        with pytest.raises(pa.ArrowInvalid):
            spool.write(pa.record_batch({"m": pa.array(["x"])}))
