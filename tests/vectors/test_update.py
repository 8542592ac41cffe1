"""What is pinned holds what was wanted, whoever else writes to the table."""

import numpy as np
import pyarrow as pa
import pytest

from clipfarm_tasks.errors import DataError, TransientError
from clipfarm_tasks.vectors.listed import Listed
from clipfarm_tasks.vectors.quarantine import Quarantined, Reason
from clipfarm_tasks.vectors.table import VectorTable, vectors
from clipfarm_tasks.vectors.update import Source, update_table, verdicts

pytestmark = pytest.mark.integration


def rows_of(sources, value, unusable=()):
    """Rows whose every element is ``value``, by video their source."""
    bad = {
        row: Quarantined(name, f"k/{name}", Reason.NOT_FINITE, "NaN")
        for row, name in enumerate(sources)
        if name in unusable
    }
    columns = {
        "video_id": pa.array(list(sources), pa.string()),
        "source": pa.array(list(sources.values()), pa.string()),
        **verdicts(len(sources), bad),
        "vector": vectors(np.full((len(sources), 3), value, "f4")),
    }
    return pa.table(columns)


class Fetch:
    """Serves every wanted row with the value 1, in two batches; remembers what it was asked for."""

    def __init__(self, unusable=(), read_as=None):
        self.asked = []
        self.unusable = unusable
        self.read_as = read_as or {}

    def __call__(self, rows, held):
        asked = dict(zip(rows["video_id"].to_pylist(), rows["source"].to_pylist(), strict=True))
        self.asked.append(list(asked))
        read = rows_of({name: self.read_as.get(name, source) for name, source in asked.items()}, 1, self.unusable)
        yield from read.to_batches(max_chunksize=max(1, len(asked) // 2))


@pytest.fixture
def table(store):
    return VectorTable(store, "clipfarm/vectors/t.lance")


def update(table, fetch, names="abc", source="mine", gone=()):
    wanted = pa.table({"video_id": list(names), "source": [source] * len(names)})

    def is_gone(rows):
        return np.array([name in gone for name in rows["video_id"].to_pylist()], dtype=bool)

    return update_table(table, Source(wanted, [], {"vector": 3}, fetch, is_gone))


def value_of(table, name, version):
    return table.read(["vector"], np.array([name], dtype=object), version)["vector"][0, 0]


def interfere(table, monkeypatch, times):
    """After each of our first ``times`` merges, another run moves video ``a`` to its own source."""
    ours, left = table.merge, [times]

    def merge(rows):
        version = ours(rows)
        if left[0]:
            left[0] -= 1
            ours(rows_of({"a": "theirs"}, 2))
        return version

    monkeypatch.setattr(table, "merge", merge)


def watch_head_many(store, monkeypatch):
    """The keys that are asked for from now on."""
    asked, head_many = [], store.head_many

    def watched(keys):
        asked.extend(keys)
        return head_many(keys)

    monkeypatch.setattr(store, "head_many", watched)
    return asked


def test_only_what_is_not_held_is_fetched(table):
    first, second = Fetch(), Fetch()
    assert update(table, first, "ab").cached == 0
    updated = update(table, second, "abc")
    assert (first.asked, second.asked) == ([["a", "b"]], [["c"]])
    assert (updated.cached, updated.rows["video_id"].to_pylist()) == (2, ["a", "b", "c"])


def test_row_that_another_run_moved_after_our_merge_is_merged_again(table, monkeypatch):
    interfere(table, monkeypatch, times=1)
    fetch = Fetch()
    updated = update(table, fetch)
    assert fetch.asked == [["a", "b", "c"], ["a"]]
    assert value_of(table, "a", updated.version) == 1
    assert updated.rows["source"].to_pylist() == ["mine"] * 3


def test_version_without_news_is_the_one_that_was_looked_at(table):
    version = update(table, Fetch()).version
    assert update(table, Fetch()).version == version


def test_writers_without_end_are_transient(table, monkeypatch):
    interfere(table, monkeypatch, times=99)
    with pytest.raises(TransientError, match=r"expected to pin s3://.*t.lance within 5 rounds"):
        update(table, Fetch())


def test_object_overwritten_between_listing_and_reading_is_fetched_once(table):
    fetch = Fetch(read_as={"b": "newer"})
    updated = update(table, fetch)
    assert fetch.asked == [["a", "b", "c"]]
    assert updated.rows["source"].to_pylist() == ["mine", "newer", "mine"]


def test_unusable_rows_are_asked_for_once_and_left_out(table):
    fetch = Fetch(unusable=("b",))
    updated = update(table, fetch)
    assert fetch.asked == [["a", "b", "c"]]
    assert updated.rows["video_id"].to_pylist() == ["a", "c"]
    assert [row.video_id for row in updated.quarantined] == ["b"]


def test_verdict_on_an_unusable_row_is_kept_until_its_source_changes(table):
    update(table, Fetch(unusable=("b",)))
    again, repaired = Fetch(), Fetch()
    updated = update(table, again)
    assert (again.asked, updated.cached, updated.rows["video_id"].to_pylist()) == ([], 3, ["a", "c"])
    assert updated.quarantined == [Quarantined("b", "k/b", Reason.NOT_FINITE, "NaN")]
    updated = update(table, repaired, "abc", "newer")
    assert (repaired.asked, updated.quarantined) == ([["a", "b", "c"]], [])


def test_video_that_vanished_leaves_the_view_and_stays_at_the_version_before(table):
    before = update(table, Fetch(), "abcd").version
    updated = update(table, Fetch(), "ab", gone="d")
    assert sorted(table.open(None).to_table(columns=["video_id"])["video_id"].to_pylist()) == ["a", "b", "c"]
    assert updated.version == table.version()
    assert value_of(table, "d", before) == 1


def test_what_another_run_still_wants_is_left_alone(table):
    update(table, Fetch(), "abcd")
    version = update(table, Fetch(), "ab").version
    assert sorted(table.open(version).to_table(columns=["video_id"])["video_id"].to_pylist()) == list("abcd")


def test_row_whose_key_lies_outside_of_the_folder_is_neither_asked_for_nor_dropped(store, table, monkeypatch):
    store.put("folder/a", b"")
    table.merge(rows_of({"a": "folder/a", "b": "folder/b", "c": "elsewhere/c", "d": ""}, 1))
    wanted = pa.table({"video_id": ["a"], "source": ["folder/a"]})
    listed = Listed.of(store, ["folder/"], [wanted["source"]])
    asked = watch_head_many(store, monkeypatch)

    def is_gone(rows):
        return listed.missing(store, rows["source"], "folder/")

    update_table(table, Source(wanted, [], {"vector": 3}, Fetch(), is_gone))
    assert sorted(table.open(None).to_table(columns=["video_id"])["video_id"].to_pylist()) == ["a", "c", "d"]
    assert asked == ["folder/b"]


def test_empty_key_is_no_object_and_costs_no_request(store, monkeypatch):
    inside, outside = store.put("folder/a", b"a"), store.put("elsewhere/c", b"c")
    asked = watch_head_many(store, monkeypatch)
    names = pa.chunked_array([["", "elsewhere/c", "folder/a", "elsewhere/c"]])
    assert Listed.of(store, ["folder/"], [names]).etags(names).to_pylist() == ["", outside, inside, outside]
    assert asked == ["elsewhere/c"]


def test_rows_are_committed_as_soon_as_they_are_enough(table, monkeypatch):
    monkeypatch.setattr("clipfarm_tasks.vectors.update._COMMIT_BYTES", 1)
    merged, merge = [], table.merge
    monkeypatch.setattr(table, "merge", lambda rows: merged.append(1) or merge(rows))
    updated = update(table, Fetch(), "abcd")
    assert len(merged) == 2  # `Fetch` serves two batches
    assert updated.rows["video_id"].to_pylist() == list("abcd")
    assert updated.version == table.version()


def test_a_small_update_is_one_commit(table, monkeypatch):
    merged, merge = [], table.merge
    monkeypatch.setattr(table, "merge", lambda rows: merged.append(1) or merge(rows))
    update(table, Fetch(), "abcdef")
    assert len(merged) == 1


def test_rows_that_came_before_a_failure_are_in_the_table(table):
    def failing(rows, held):
        yield from list(Fetch()(rows, held))[:1]
        raise TransientError("reset by peer")

    with pytest.raises(TransientError, match="reset by peer"):
        update(table, failing, "abcd")
    again = Fetch()
    updated = update(table, again, "abcd")
    assert (again.asked, updated.cached) == ([["c", "d"]], 2)


def test_a_failure_before_any_row_leaves_no_table(table):
    def failing(rows, held):
        raise TransientError("reset by peer")
        yield

    with pytest.raises(TransientError, match="reset by peer"):
        update(table, failing)
    assert table.version() is None


def test_table_without_the_expected_columns_is_replaced(table):
    table.merge(pa.table({"video_id": ["z"], "vector": vectors(np.ones((1, 3), "f4"))}))
    updated = update(table, Fetch())
    assert updated.rows["video_id"].to_pylist() == ["a", "b", "c"]
    assert value_of(table, "z", 1) == 1


def test_table_of_another_width_holds_nothing(table):
    table.merge(pa.table({"video_id": ["a"], "source": ["mine"], "vector": vectors(np.ones((1, 5), "f4"))}))
    updated = update(table, Fetch())
    assert updated.cached == 0
    assert table.widths(updated.version) == {"vector": 3}


def test_no_usable_row_at_all(table):
    with pytest.raises(DataError, match=r"usable vectors for s3://.*t.lance, got none of 3 rows: NaN at k/a"):
        update(table, Fetch(unusable=("a", "b", "c")))
