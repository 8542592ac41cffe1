"""Rows wait on disk, can be read again and again, and leave nothing behind."""

import tempfile

import pyarrow as pa
import pytest

from clipfarm_tasks.row_spool import RowSpool


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def batch(*numbers):
    return pa.record_batch({"n": pa.array(numbers, pa.int64())})


def test_all_rows_come_back_every_time():
    with RowSpool() as spool:
        for numbers in ((1, 2), (3,), ()):
            spool.write(batch(*numbers))
        for _ in range(2):
            assert spool.to_reader().read_all()["n"].to_pylist() == [1, 2, 3]
        assert spool.rows == 3


@pytest.mark.parametrize("read", [False, True])
def test_nothing_stays_behind(folder, read):
    with RowSpool() as spool:
        spool.write(batch(1))
        if read:
            spool.to_reader().read_all()
        assert list(folder.rglob("*.arrow"))
    assert not list(folder.iterdir())


def test_another_schema_is_refused():
    with RowSpool() as spool:
        spool.write(batch(1))
        with pytest.raises(pa.ArrowInvalid):
            spool.write(pa.record_batch({"m": pa.array(["x"])}))
