"""Maintenance of one table on a real S3 server: what is pinned stays as it was, whoever reads and writes meanwhile."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.storage import open_store
from clipfarm_tasks.vectors import maintenance
from clipfarm_tasks.vectors.maintenance import maintain_table
from clipfarm_tasks.vectors.table import VectorTable, vectors
from tests.faulty_s3 import FaultyS3, always, at_random, refuse, reset

pytestmark = pytest.mark.integration

KEY = "clipfarm/vectors/test.lance"
NOW = timedelta(0)
RUN = {"run-1"}


def rows(ids, value, width=4):
    """Rows whose every element is ``value``."""
    matrix = np.full((len(ids), width), value, np.float32)
    return pa.table({"video_id": pa.array(ids), "etag": pa.array([str(value)] * len(ids)), "vector": vectors(matrix)})


def content(table, version=None):
    """(ETag, vector) by video, after checking that no video is there twice."""
    held = table.open(version).to_table(columns=["video_id", "etag", "vector"]).to_pydict()
    assert len(held["video_id"]) == len(set(held["video_id"]))
    return {name: (etag, vector) for name, etag, vector in zip(*held.values(), strict=True)}


def versions(table):
    return [version["version"] for version in table.open(None).versions()]


def tags(table):
    return {name: tag["version"] for name, tag in table.open(None).tags.list().items()}


def fragments(table):
    return len(table.open(None).get_fragments())


def snapshot(store):
    return {info.key: (info.size, info.etag) for info in store.list(f"{KEY}/")}


def maintain(table, pins=(), keep=NOW, **options):
    pinned = pins if isinstance(pins, dict) else dict.fromkeys(pins, RUN)
    return maintain_table(table, pinned, datetime.now(UTC) - keep, **options)


@pytest.fixture
def table(store):
    return VectorTable(store, KEY)


@pytest.fixture
def filled(table):
    """Six versions: each adds a video and replaces ``all``."""
    for number in range(1, 7):
        assert table.merge(rows(["all", f"own{number}"], number)) == number
    return table


def test_a_table_that_does_not_exist(table, caplog):
    assert maintain(table, dry_run=True) is None
    assert caplog.records == []
    assert maintain(table, pins=[3]) is None
    assert "version 3 of" in caplog.text


def test_only_versions_that_nobody_pins_are_dropped_and_the_newest_stays(filled):
    before = {version: content(filled, version) for version in (2, 4, 6)}
    done = maintain(filled, pins=[2, 4])
    assert (done.versions_dropped, done.versions_pinned, done.pins_lost) == (3, 2, 0)
    assert done.versions_kept == 3
    assert done.bytes_freed > 0
    assert {1, 3, 5} & set(versions(filled)) == set()
    assert {2, 4} < set(versions(filled))
    assert {version: content(filled, version) for version in (2, 4)} == {2: before[2], 4: before[4]}
    assert content(filled) == before[6]
    with pytest.raises(DataError, match="at version 3, got none"):
        filled.read(["vector"], np.array(["all"], dtype=object), 3)


def test_versions_superseded_less_than_that_ago_stay(filled):
    assert maintain(filled, keep=timedelta(hours=1)).versions_dropped == 0
    assert set(range(1, 7)) < set(versions(filled))


def test_the_age_of_a_version_counts_from_the_commit_that_superseded_it(table):
    """A run under way looked at the newest version, old as it is; then it is superseded before the run records it."""
    table.merge(rows(["a"], 1))
    table.merge(rows(["a"], 2))
    time.sleep(1.1)
    between = datetime.now(UTC)
    time.sleep(1.1)
    table.merge(rows(["a"], 3))
    assert maintain_table(table, {}, between).versions_dropped == 1
    assert content(table, 2)["a"][0] == "2"
    assert 1 not in versions(table)


def test_time_zone_of_the_machine_does_not_matter(filled, monkeypatch):
    for zone in ("Pacific/Kiritimati", "Etc/GMT+12"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            assert maintain(filled, keep=timedelta(minutes=5), dry_run=True).versions_dropped == 0
            assert maintain(filled, keep=timedelta(minutes=-5), dry_run=True).versions_dropped == 5
        finally:
            monkeypatch.undo()
            time.tzset()


def test_compaction_keeps_rows_and_key_and_a_later_merge_still_replaces(filled):
    before, schema = content(filled), filled.open(None).schema
    done = maintain(filled)
    assert done.fragments_removed > 1
    assert (done.fragments_added, fragments(filled)) == (1, 1)
    assert content(filled) == before
    after = filled.open(None).schema
    assert after.equals(schema, check_metadata=True)
    assert after.field("video_id").metadata == {b"lance-schema:unenforced-primary-key": b"true"}
    version = filled.merge(rows(["all", "new"], 9))
    assert content(filled, version) == before | {name: ("9", [9.0] * 4) for name in ("all", "new")}


def test_compaction_leaves_large_fragments_alone(table, monkeypatch):
    """Pinned versions keep their files: what is large enough must not be stored once more every week."""
    monkeypatch.setattr(maintenance, "_FRAGMENT_BYTES", 100 * 4 * 4)
    table.merge(rows([f"large{number}" for number in range(100)], 1))
    for number in range(3):
        table.merge(rows([f"small{number}"], number))
    files = {file.path for file in table.open(None).get_fragments()[0].data_files()}
    done = maintain(table)
    assert (done.fragments_removed, done.fragments_added, fragments(table)) == (3, 1, 2)
    assert files < {file.path for fragment in table.open(None).get_fragments() for file in fragment.data_files()}
    assert len(content(table)) == 103


def test_nothing_to_do_writes_nothing(filled, store):
    maintain(filled)
    maintain(filled)
    before = snapshot(store)
    done = maintain(filled)
    assert (done.fragments_removed, done.fragments_added, done.versions_dropped) == (0, 0, 0)
    assert done.versions_kept == 1
    assert snapshot(store) == before


def test_tags_follow_the_pins_and_tags_of_others_stay(filled):
    filled.open(None).tags.create("by-hand", 3)
    filled.open(None).tags.create("pinned-verbatim", 4)
    maintain(filled, pins=[1, 2])
    others = {"by-hand": 3, "pinned-verbatim": 4}
    assert tags(filled) == others | {"pinned-v1": 1, "pinned-v2": 2}
    assert maintain(filled, pins=[2]).versions_dropped == 3  # 1, which was pinned, and what the compaction superseded
    assert tags(filled) == others | {"pinned-v2": 2}
    assert {2, 3, 4} < set(versions(filled))
    assert 1 not in versions(filled)


def test_a_tag_alone_protects_from_a_cleanup_by_hand(filled):
    maintain(filled, pins=[2], keep=timedelta(days=1))
    filled.open(None).cleanup_old_versions(timedelta(0), error_if_tagged_old_versions=False)
    assert 1 not in versions(filled)
    assert content(filled, 2).keys() == {"all", "own1", "own2"}


def test_a_pinned_version_that_is_gone_is_a_warning(filled, caplog):
    done = maintain(filled, pins={2: RUN, 77: {"run-b", "run-a"}})
    assert (done.versions_pinned, done.pins_lost) == (1, 1)
    [message] = [record.getMessage() for record in caplog.records]
    assert message == f"expected version 77 of {filled.uri}, pinned by run run-a, run-b, got none: it is lost"


@pytest.mark.parametrize("target", [64 * 2**20, 4 * 4 * 3])
def test_a_dry_run_changes_nothing_and_counts_what_the_real_one_does(filled, store, monkeypatch, target):
    monkeypatch.setattr(maintenance, "_FRAGMENT_BYTES", target)
    filled.open(None).tags.create("by-hand", 4)
    maintain(filled, pins=[2, 3], keep=timedelta(days=1))
    filled.merge(rows([f"new{number}" for number in range(8)], 7))
    before = snapshot(store)
    told = maintain(filled, pins=[3], dry_run=True)
    assert snapshot(store) == before
    done = maintain(filled, pins=[3])
    assert told.model_dump(exclude={"bytes_freed"}) == done.model_dump(exclude={"bytes_freed"})
    assert 0 < told.bytes_freed <= done.bytes_freed
    assert done.versions_dropped > 0


def test_leftovers_of_a_writer_are_kept_while_it_may_commit_them(filled, store):
    store.put(f"{KEY}/data/{'01' * 20}.lance", b"x" * 100)
    maintain(filled)
    assert store.head(f"{KEY}/data/{'01' * 20}.lance") is not None


def test_another_width_and_its_predecessor(table):
    old = table.merge(rows(["a", "b"], 1, width=4))
    for number in range(3):
        table.merge(rows(["a", f"own{number}"], number, width=6))
    maintain(table, pins=[old])
    assert content(table, old) == {name: ("1", [1.0] * 4) for name in "ab"}
    assert content(table)["a"] == ("2", [2.0] * 6)


def test_merges_meanwhile_lose_and_double_nothing(bucket, s3_session):
    """Three writers add and replace while the table is maintained again and again; every merge is there in the end."""
    tables = [VectorTable(open_store(bucket, s3_session), KEY) for _ in range(4)]
    everywhere = [f"shared{number}" for number in range(20)]
    for number in range(5):
        tables[0].merge(rows(everywhere, number))
    began = datetime.now(UTC)
    writing = threading.Event()
    writing.set()

    def write(writer):
        for number in range(6):
            value = writer * 100 + number
            version = tables[writer].merge(rows([f"own{writer}-{number}", f"last{writer}", "shared3"], value))
            found = content(tables[writer], version)
            assert {found[name][0] for name in (f"own{writer}-{number}", f"last{writer}", "shared3")} == {str(value)}

    def keep_up():
        done = []
        while writing.is_set():
            done.append(maintain_table(tables[3], {}, began))
        return done

    with ThreadPoolExecutor(4) as pool:
        maintaining = pool.submit(keep_up)
        try:
            list(pool.map(write, range(3)))
        finally:
            writing.clear()
    done = maintaining.result()
    assert len(done) >= 2
    assert sum(each.fragments_removed for each in done) > 0
    assert sum(each.versions_dropped for each in done) == 4
    last = {f"last{writer}": writer * 100 + 5 for writer in range(3)}
    own = {f"own{writer}-{number}": writer * 100 + number for writer in range(3) for number in range(6)}
    final = content(tables[0])
    shared3 = final["shared3"][0]
    assert int(shared3) in range(300)
    values = own | last | dict.fromkeys(everywhere, 4) | {"shared3": int(shared3)}
    assert final == {name: (str(value), [float(value)] * 4) for name, value in values.items()}
    maintain(tables[0])
    assert fragments(tables[0]) == 1
    assert content(tables[0]) == final


def test_reads_of_a_pinned_version_meanwhile(filled, bucket, s3_session):
    before = content(filled, 2)
    other = VectorTable(open_store(bucket, s3_session), KEY)
    reader = other.open(2).to_batches(columns=["video_id", "etag", "vector"], batch_size=1)
    batches = [next(reader)]
    maintain(filled, pins=[2])
    batches += list(reader)
    read = pa.Table.from_batches(batches).to_pydict()
    assert {name: (etag, vector) for name, etag, vector in zip(*read.values(), strict=True)} == before


def test_two_maintenances_at_once(filled, bucket, s3_session):
    before = {version: content(filled, version) for version in (2, 4, 6)}
    tables = [VectorTable(open_store(bucket, s3_session), KEY) for _ in range(3)]
    barrier = threading.Barrier(len(tables))

    def work(number):
        barrier.wait()
        return maintain(tables[number], pins=[2, 4])

    with ThreadPoolExecutor(len(tables)) as pool:
        assert len(list(pool.map(work, range(len(tables))))) == 3
    assert {2: content(filled, 2), 4: content(filled, 4), 6: content(filled)} == before
    assert tags(filled) == {"pinned-v2": 2, "pinned-v4": 4}


@pytest.fixture
def proxy(s3_server):
    with FaultyS3(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def behind(proxy, bucket, s3_session):
    patience = {"endpoint_url": proxy.endpoint_url, "request_timeout_s": 5.0, "retry_timeout_s": 1.0}
    return VectorTable(open_store(bucket.model_copy(update=patience), s3_session), KEY)


def test_a_compaction_that_cannot_commit_is_left_to_the_next_time(filled, proxy, behind, caplog):
    before = content(filled)
    proxy.rule = always(reset, lambda request: request.method == "PUT" and "/_versions/" in request.key)
    with caplog.at_level(logging.WARNING, maintenance.__name__):
        done = maintain(behind, pins=[2])
    assert (done.fragments_removed, done.versions_dropped) == (0, 4)
    assert any("is left to the next maintenance" in record.getMessage() for record in caplog.records)
    assert content(filled) == before
    proxy.rule = None
    assert maintain(behind, pins=[2]).fragments_added == 1
    assert content(filled) == before


def test_faults_that_pass_heal(filled, proxy, behind):
    before = {version: content(filled, version) for version in (2, 6)}
    behind.open(None)
    proxy.rule = at_random(5, 0.1, [refuse(503, "SlowDown"), refuse(500, "InternalError")])
    done = maintain(behind, pins=[2])
    assert done.versions_dropped == 4
    assert {2: content(filled, 2), 6: content(filled)} == before
