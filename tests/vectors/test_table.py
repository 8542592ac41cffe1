"""Vector tables on a real S3 server: versions that stay as they were, and writers that do not lose or double a row."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import boto3
import numpy as np
import pyarrow as pa
import pytest

from clipfarm_tasks.errors import ConfigError, DataError, TransientError
from clipfarm_tasks.stack.seaweed import REGION
from clipfarm_tasks.storage import open_store
from clipfarm_tasks.vectors.table import VectorTable, vectors
from tests.faulty_s3 import FaultyS3, always, at_random, first, lose_answer, refuse, reset

pytestmark = pytest.mark.integration

KEY = "clipfarm/vectors/test.lance"
WRITER = """
import sys
import numpy as np
import pyarrow as pa
from clipfarm_tasks.config import Settings
from clipfarm_tasks.storage import open_store
from clipfarm_tasks.vectors.table import VectorTable, vectors
key, value, *ids = sys.argv[1:]
matrix = np.full((len(ids), 4), float(value), np.float32)
rows = pa.table({"video_id": pa.array(ids), "etag": pa.array([value] * len(ids)), "vector": vectors(matrix)})
table = VectorTable(open_store(Settings.from_environment()), key)
print("ready", flush=True)
sys.stdin.readline()
print(table.merge(rows), flush=True)
"""


def rows(ids, value, width=4):
    """Rows whose every element is ``value``."""
    matrix = np.full((len(ids), width), value, np.float32)
    return pa.table({"video_id": pa.array(ids), "etag": pa.array([str(value)] * len(ids)), "vector": vectors(matrix)})


def values(table, ids, version):
    matrix = table.read(["vector"], np.array(ids, dtype=object), version)["vector"]
    assert matrix.dtype == np.float32
    assert (matrix == matrix[:, :1]).all()
    return matrix[:, 0].tolist()


def held(table, version=None):
    """Value by video, after checking that no video is there twice."""
    columns = table.open(version).to_table(columns=["video_id", "etag"]).to_pydict()
    assert len(columns["video_id"]) == len(set(columns["video_id"]))
    return dict(zip(columns["video_id"], map(float, columns["etag"]), strict=True))


@pytest.fixture
def table(store):
    return VectorTable(store, KEY)


@pytest.fixture
def proxy(s3_server):
    with FaultyS3(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def behind(proxy, bucket, s3_session):
    """The table behind the proxy, with other settings or another session."""

    def connect(session=s3_session, key=KEY, **settings):
        patience = {"endpoint_url": proxy.endpoint_url, "request_timeout_s": 60.0, "retry_timeout_s": 60.0}
        return VectorTable(open_store(bucket.model_copy(update=patience | settings), session), key)

    return connect


def test_vectors_is_the_matrix_without_a_copy():
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
    column = vectors(matrix)
    assert column.type == pa.list_(pa.float32(), 4)
    assert column.to_pylist() == matrix.tolist()
    assert column.values.to_numpy().base is not None
    assert np.shares_memory(column.values.to_numpy(), matrix)
    assert vectors(np.asfortranarray(matrix)).to_pylist() == matrix.tolist()
    assert len(vectors(np.empty((0, 4), np.float32))) == 0


def test_a_table_that_does_not_exist_yet(table):
    assert table.version() is None
    assert table.open(None) is None
    assert table.widths() == {}
    with pytest.raises(DataError, match=rf"expected vector table s3://.*/{KEY} at version 1, got none"):
        table.read(["vector"], np.array(["a"], dtype=object), 1)["vector"]


def test_merge_inserts_and_replaces(table):
    assert table.merge(rows(["a", "b"], 1)) == 1
    version = table.merge(rows(["b", "c"], 2))
    assert version == table.version() == 2
    assert held(table) == {"a": 1, "b": 2, "c": 2}
    assert table.widths() == {"vector": 4}
    assert len(table.open(None).to_table(columns=["vector"])) == 3


def test_read_is_in_the_order_asked(table):
    rng = np.random.default_rng(0)
    ids, matrix = [f"v{number}" for number in range(500)], rng.normal(size=(500, 8)).astype(np.float32)
    for part in np.array_split(np.arange(500), 3):
        some = [ids[row] for row in part]
        version = table.merge(
            pa.table({"video_id": pa.array(some), "etag": pa.array(some), "vector": vectors(matrix[part])})
        )
    wanted = rng.permutation(500)[:200]
    read = table.read(["vector"], np.array(ids, dtype=object)[wanted], version)["vector"]
    np.testing.assert_array_equal(read, matrix[wanted])
    assert table.read(["vector"], np.array([], dtype=object), version)["vector"].shape == (0, 8)


def test_dropped_videos_leave_the_newest_version_only(table):
    before = table.merge(rows(["a", "b", "it's"], 1.0))
    after = table.drop(["it's", "b", "never there"])
    assert (held(table, before), held(table, after)) == ({"a": 1.0, "b": 1.0, "it's": 1.0}, {"a": 1.0})


def test_dropping_from_a_table_that_does_not_exist(table):
    with pytest.raises(DataError, match=r"expected vector table s3://.*test.lance, got none"):
        table.drop(["a"])


def test_merge_that_is_too_large_for_memory_goes_in_several_commits(table, monkeypatch):
    monkeypatch.setattr("clipfarm_tasks.vectors.table._MERGED_AT_ONCE_BYTES", 100)
    assert table.merge(rows(["a"], 1.0)) == 1
    several = pa.Table.from_batches(rows(["b", "c", "a", "d"], 2.0, 16).to_batches(max_chunksize=2))
    monkeypatch.undo()
    assert table.merge(rows(["a"], 1.0, 16)) == 2  # another width: replaced, in one commit
    monkeypatch.setattr("clipfarm_tasks.vectors.table._MERGED_AT_ONCE_BYTES", 100)
    assert table.merge(several) == 4
    assert held(table) == {"a": 2.0, "b": 2.0, "c": 2.0, "d": 2.0}


def test_a_missing_video_is_named(table):
    version = table.merge(rows(["a", "b"], 1))
    with pytest.raises(DataError, match=rf"expected 4 videos in s3://.* at version {version}, got 2: x and 1 more"):
        values(table, ["a", "x", "b", "y"], version)
    with pytest.raises(DataError, match=r"at version 99, got none"):
        values(table, ["a"], 99)


def test_a_pinned_version_stays_as_it_was(table):
    one = table.merge(rows(["a", "b"], 1))
    two = table.merge(rows(["b", "c"], 2))
    three = table.merge(rows(["a", "b", "c"], 3))
    assert values(table, ["b", "a"], one) == [1, 1]
    assert values(table, ["c", "b", "a"], two) == [2, 2, 1]
    assert values(table, ["a", "b", "c"], three) == [3, 3, 3]
    assert held(table, one) == {"a": 1, "b": 1}
    with pytest.raises(DataError, match="c and 0 more are missing"):
        values(table, ["c"], one)


def test_another_width_replaces_the_table_and_keeps_its_versions(table):
    old = table.merge(rows(["a", "b"], 1, width=4))
    new = table.merge(rows(["a"], 2, width=6))
    assert table.widths() == {"vector": 6}
    assert held(table) == {"a": 2}
    assert values(table, ["a", "b"], old) == [1, 1]
    assert table.read(["vector"], np.array(["a"], dtype=object), new)["vector"].shape == (1, 6)


@pytest.mark.parametrize("exists", [False, True])
def test_writers_at_once_in_threads_lose_and_double_nothing(bucket, s3_session, exists):
    """Each writer has its own rows, and rows that every writer inserts or updates: the workers of one task, twice."""
    tables = [VectorTable(open_store(bucket, s3_session), KEY) for _ in range(4)]
    shared = [f"shared{number}" for number in range(20)]
    if exists:
        tables[0].merge(rows(["before"], 9))
    barrier = threading.Barrier(len(tables))

    def write(number):
        barrier.wait()
        return tables[number].merge(rows([f"own{number}", *shared], number))

    with ThreadPoolExecutor(len(tables)) as pool:
        versions = list(pool.map(write, range(len(tables))))
    for number, version in enumerate(versions):
        assert values(tables[0], [f"own{number}", shared[0], shared[-1]], version) == [number] * 3
    found = held(tables[0])
    assert found.keys() == {*shared, *(f"own{number}" for number in range(4)), *(["before"] if exists else [])}
    assert len({found[video_id] for video_id in shared}) == 1


def test_writers_at_once_in_processes_lose_and_double_nothing(table, bucket, s3_server, repository):
    environment = os.environ | s3_server.environment() | {"CLIPFARM_BUCKET": bucket.bucket}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, KEY, str(number), f"own{number}", "shared"],
            cwd=repository,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 3
    versions = [int(writer.communicate("go\n", 60)[0]) for writer in writers]
    for number, version in enumerate(versions):
        assert values(table, [f"own{number}"], version) == [number]
    assert held(table).keys() == {"own0", "own1", "own2", "shared"}


def test_two_that_change_the_width_at_once_both_end_right(bucket, s3_session):
    tables = [VectorTable(open_store(bucket, s3_session), KEY) for _ in range(3)]
    tables[0].merge(rows(["a"], 9, width=4))
    barrier = threading.Barrier(3)

    def write(number):
        barrier.wait()
        return tables[number].merge(rows(["a", f"own{number}"], number, width=6))

    with ThreadPoolExecutor(3) as pool:
        versions = list(pool.map(write, range(3)))
    for number, version in enumerate(versions):
        assert values(tables[0], [f"own{number}"], version) == [number]
    assert tables[0].widths() == {"vector": 6}
    assert "a" in held(tables[0])


def test_a_reader_sees_all_of_a_merge_or_nothing_of_it(behind, proxy, table):
    """At every request of a merge the newest version is the one before or the one after."""
    ids = [f"v{number}" for number in range(50)]
    table.merge(rows(ids, 1))
    seen = []

    def rule(request):
        if request.method in {"PUT", "POST"}:
            seen.append(set(held(table).values()))

    writer = behind()
    proxy.rule = rule
    writer.merge(rows(ids, 2))
    assert len(seen) >= 2
    assert all(found == {1.0} for found in seen)
    assert set(held(table).values()) == {2.0}


def test_a_writer_that_fails_before_the_commit_leaves_the_version_before(behind, proxy, table):
    ids = ["a", "b", "c"]
    table.merge(rows(ids, 1))
    writer = behind(retry_timeout_s=0.5)
    proxy.rule = always(reset, lambda request: request.method == "PUT" and "/_versions/" in request.key)
    with pytest.raises(TransientError, match=rf"s3://.*/{KEY}"):
        writer.merge(rows(ids, 2))
    assert held(table) == dict.fromkeys(ids, 1)
    proxy.rule = None
    writer.merge(rows(ids, 2))
    assert held(table) == dict.fromkeys(ids, 2)


@pytest.mark.parametrize("part", ["/data/", "/_transactions/", "/_versions/"])
def test_a_write_whose_answer_was_lost_counts_once(behind, proxy, part):
    table = behind()
    for value, ids in ((1, ["a"]), (2, ["a", "b"])):
        proxy.rule = first(1, lose_answer, lambda request: request.method == "PUT" and part in request.key)
        version = table.merge(rows(ids, value))
        assert values(table, ids, version) == [value] * len(ids)
        assert held(table) == dict.fromkeys(ids, value)


def test_faults_that_pass_heal(behind, proxy):
    table = behind()
    proxy.rule = at_random(3, 0.15, [refuse(503, "SlowDown"), refuse(500, "InternalError"), reset])
    for number in range(5):
        version = table.merge(rows(["all", f"own{number}"], number))
    assert values(table, ["all", "own0", "own4"], version) == [4, 0, 4]
    assert held(table).keys() == {"all", *(f"own{number}" for number in range(5))}


def every_call(table):
    return [
        table.version,
        table.widths,
        lambda: table.open(None),
        lambda: table.merge(rows(["a"], 1)),
        lambda: table.read(["vector"], np.array(["a"], dtype=object), 1)["vector"],
    ]


def test_wrong_bucket_is_told_at_once(behind, proxy):
    for call in every_call(behind(bucket="no-such-bucket")):
        proxy.log.clear()
        with pytest.raises(ConfigError, match=r"expected bucket no-such-bucket to exist .*: check CLIPFARM_BUCKET"):
            call()
        assert len(proxy.log) == 1


def test_wrong_key_pair_is_told_at_once(behind, proxy, s3_server, table):
    table.merge(rows(["a"], 1))
    session = boto3.Session(
        aws_access_key_id=s3_server.access_key, aws_secret_access_key="wrong" * 8, region_name=REGION
    )
    for call in every_call(behind(session)):
        proxy.log.clear()
        with pytest.raises(ConfigError, match=r"expected permission for s3://.*check the key pair"):
            call()
        assert len(proxy.log) == 1


def test_no_server_is_transient_after_the_time_that_is_set(behind):
    for call in every_call(behind(endpoint_url="http://127.0.0.1:9", retry_timeout_s=0.3)):
        with pytest.raises(TransientError, match=r"expected an answer for s3://"):
            call()


def test_a_server_that_goes_down_inside_of_a_call_is_transient(behind, proxy, table):
    """Past the first question Lance itself talks to the server, and its errors have no types."""
    table.merge(rows(["a"], 1))
    proxy.rule = lambda request: reset if len(proxy.log) > 1 else None
    with pytest.raises(TransientError, match=rf"expected an answer for s3://.*/{KEY}"):
        behind(retry_timeout_s=0.5).version()


def test_a_file_of_a_version_that_was_removed_is_a_data_error(store, table):
    version = table.merge(rows(["a"], 1))
    store.delete([info.key for info in store.list(f"{KEY}/data/")])
    with pytest.raises(DataError, match=rf"expected the files of s3://.*/{KEY}"):
        values(VectorTable(store, KEY), ["a"], version)
