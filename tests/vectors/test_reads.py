"""Reading some videos out of a table: each gets its own vector, wherever rows have moved, and little else is held."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from clipfarm_tasks.vectors import reads
from clipfarm_tasks.vectors.row_spool import row_spool
from clipfarm_tasks.vectors.table import VectorTable, vectors
from tests.eventually import PATIENCE_S

pytestmark = pytest.mark.integration


def rows(numbers, width=6):
    """Video n's vector holds n everywhere."""
    matrix = np.repeat(np.array(numbers, np.float32), width).reshape(-1, width)
    return pa.table({"video_id": pa.array([f"v{n:05d}" for n in numbers]), "vector": vectors(matrix)})


def read(table, numbers, version=None):
    ids = np.array([f"v{n:05d}" for n in numbers], dtype=object)
    return table.read(["vector"], ids, version or table.version())["vector"]


@pytest.fixture
def table(store):
    table = VectorTable(store, "clipfarm/vectors/reads.lance")
    table.merge(rows(range(3000)))
    table.merge(rows(range(3000, 4000)))
    return table


@pytest.mark.parametrize("count", [1, 7, 150, 400, 3999])
def test_any_number_of_rows_comes_in_the_order_asked_for(table, count):
    numbers = np.random.default_rng(count).permutation(4000)[:count]
    np.testing.assert_array_equal(read(table, numbers)[:, 0], numbers)


@pytest.mark.parametrize("count", [5, 2000])
def test_rows_are_found_after_replacing_dropping_and_compacting(table, count):
    table.merge(rows(range(100, 200)))
    table.drop([f"v{n:05d}" for n in range(0, 3000, 3)])
    left = [n for n in range(4000) if n >= 3000 or n % 3]
    numbers = np.random.default_rng(1).permutation(left)[:count]
    np.testing.assert_array_equal(read(table, numbers)[:, 0], numbers)
    table.open(None).optimize.compact_files()
    np.testing.assert_array_equal(read(table, numbers)[:, 0], numbers)


def test_vectors_are_filled_into_the_place_that_is_given(table, tmp_path):
    places = {}

    def on_disk(column, shape):
        places[column] = np.memmap(tmp_path / column, dtype=np.float32, mode="w+", shape=shape)
        return places[column]

    ids = np.array(["v00009", "v03999"], dtype=object)
    out = table.read(["vector"], ids, table.version(), on_disk)
    assert out["vector"] is places["vector"]
    assert out["vector"][:, 0].tolist() == [9, 3999]


@pytest.mark.parametrize(("wanted", "scanned"), [(range(3000, 4000), {1}), (range(10), set()), (range(4000), {0, 1})])
def test_only_fragments_with_wanted_rows_are_scanned(table, monkeypatch, wanted, scanned):
    seen, scan = set(), reads._scan

    def watched(dataset, columns, number):
        seen.add(number)
        return scan(dataset, columns, number)

    monkeypatch.setattr(reads, "_scan", watched)
    np.testing.assert_array_equal(read(table, wanted)[:, 0], list(wanted))
    assert seen == scanned


def test_reading_needs_little_more_memory_than_the_arrays(store, s3_server, bucket, repository):
    table = VectorTable(store, "clipfarm/vectors/wide.lance")
    rng = np.random.default_rng(0)
    with row_spool() as spool:
        for start in range(0, 60_000, 2_000):
            ids = pa.array([f"v{n:05d}" for n in range(start, start + 2_000)])
            matrix = rng.random((2_000, 1024), dtype=np.float32)
            spool.write(pa.record_batch({"video_id": ids, "vector": vectors(matrix)}))
        table.merge(spool)
    program = """
import re, sys
from pathlib import Path
import numpy as np
from clipfarm_tasks.config import Settings
from clipfarm_tasks.storage import open_store
from clipfarm_tasks.vectors.table import VectorTable
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
table = VectorTable(open_store(Settings.from_environment()), "clipfarm/vectors/wide.lance")
ids = np.array([f"v{n:05d}" for n in range(60_000)], dtype=object)
table.read(["vector"], ids[:2], 1)
Path("/proc/self/clear_refs").write_text("5")
before = peak()
matrix = table.read(["vector"], ids, 1)["vector"]
print(before, peak(), matrix.nbytes // 2**20)
"""
    environment = s3_server.environment() | {"CLIPFARM_BUCKET": bucket.bucket, "PYTHONPATH": str(repository)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    before, peak, array = map(int, done.stdout.split())
    assert peak - before < array + 250, done.stdout
