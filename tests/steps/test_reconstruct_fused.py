import io
import itertools

import numpy as np
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import DataError, TransientError
from clipfarm_tasks.families import Strategy
from clipfarm_tasks.storage import Store
from clipfarm_tasks.vectors.meter import Meter
from clipfarm_tasks.vectors.quarantine import RULES
from clipfarm_tasks.vectors.table import VectorTable

CONCAT = Strategy.CONCAT
NUMBERS = itertools.count(1)
FIRST, SECOND = (keys.fused_shard(CONCAT, date, 0) for date in ("2026-03-01", "2026-03-02"))


def reconstruct(upstream, run, **params):
    """Upload, then a run of its own up to and including reconstruct_fused: a run settles its version once."""
    upstream.upload()
    run.resolve(**{"run_id": f"run-{next(NUMBERS)}"} | params)
    run.step("resolve_manifest", CONCAT)
    return run.step("reconstruct_fused", CONCAT)


def fail_at(monkeypatch, number):
    """The object of this number is the last that arrives."""
    count, add = itertools.count(1), Meter.add

    def failing(self, body):
        if next(count) == number:
            raise TransientError("worker lost")
        add(self, body)

    monkeypatch.setattr(Meter, "add", failing)


def read(store, record, ids):
    return VectorTable(store, record.key).read(["vector"], np.array(ids, dtype=object), record.version)["vector"]


def quarantine(run, table="fused_concat"):
    return run.frame(keys.quarantine(run.id, table))


def saved(array, *, pickle=False, order="C"):
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array, order=order), allow_pickle=pickle)
    return buffer.getvalue()


def test_every_vector_is_the_one_upstream_wrote(upstream, run, store):
    record = reconstruct(upstream, run)
    assert (record.rows, record.quarantined, record.table) == (24, {}, "fused_concat")
    assert record.throughput.objects == 2
    assert record.throughput.cached == 0
    # Both shards are called part-0000: mixed up, half of the vectors would be those of other videos.
    np.testing.assert_array_equal(read(store, record, upstream.ids), upstream.fused[CONCAT])
    assert run.frame(record.rows_key)["video_id"].tolist() == upstream.ids
    assert quarantine(run).columns.tolist() == ["video_id", "key", "reason", "detail"]
    assert quarantine(run).empty


def test_each_shard_is_requested_once_however_many_rows_it_holds(upstream, run, monkeypatch):
    asked, fetch = [], Store._fetch_listed
    monkeypatch.setattr(Store, "_fetch_listed", lambda self, info: asked.append(info.key) or fetch(self, info))
    reconstruct(upstream, run)
    assert sorted(asked) == [FIRST, SECOND]


def test_vectors_are_read_in_the_order_asked_for(upstream, run, store):
    record = reconstruct(upstream, run)
    order = np.random.default_rng(1).permutation(24)
    np.testing.assert_array_equal(
        read(store, record, [upstream.ids[row] for row in order]), upstream.fused[CONCAT][order]
    )


@pytest.mark.parametrize(
    ("column", "value", "reason", "detail"),
    [
        ("shard_idx", 12, "index_out_of_range", "expected shard_idx from 0 to 11, got 12"),
        ("shard_idx", -1, "index_out_of_range", "expected shard_idx from 0 to 11, got -1"),
        ("shard_idx", 4, "other_video", "expected the vector of vid003, got that of vid004"),
        ("fused_key", "clipfarm/fused/concat/shards/date=2026-03-09/part-0000.npz", "missing_object", "got no object"),
        ("fused_key", "clipfarm//fused/../x.npz", "foreign_key", "got clipfarm//fused/../x.npz"),
        ("fused_key", "clipfarm/fused/../models/x.npz", "foreign_key", "got clipfarm/fused/../models/x.npz"),
        ("fused_key", "airflow/logs/x.npz", "foreign_key", "expected a key below clipfarm/embeddings/,clipfarm/fused/"),
    ],
)
def test_manifest_row_that_points_elsewhere_is_quarantined(upstream, run, store, column, value, reason, detail):
    upstream.manifests[CONCAT].loc[3, column] = value
    record = reconstruct(upstream, run)
    assert (record.rows, record.quarantined) == (23, {reason: 1})
    listed = quarantine(run).iloc[0]
    assert listed["video_id"] == "vid003"
    assert listed["reason"] == reason
    assert detail in listed["detail"]
    assert listed["key"] == upstream.manifests[CONCAT].loc[3, "fused_key"]
    kept = [video_id for video_id in upstream.ids if video_id != "vid003"]
    assert run.frame(record.rows_key)["video_id"].tolist() == kept
    np.testing.assert_array_equal(read(store, record, kept), np.delete(upstream.fused[CONCAT], 3, axis=0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_vector_that_is_not_finite_is_quarantined(upstream, run, value):
    upstream.shards[FIRST]["vectors"][5, 2] = value
    record = reconstruct(upstream, run)
    assert (record.rows, record.quarantined) == (23, {"not_finite": 1})
    assert quarantine(run)["video_id"].tolist() == ["vid005"]


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ">f4"])
def test_other_float_types_are_converted(upstream, run, store, dtype):
    upstream.shards[FIRST]["vectors"] = upstream.fused[CONCAT][:12].astype(dtype)
    record = reconstruct(upstream, run)
    vectors = read(store, record, upstream.ids)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[:12], upstream.fused[CONCAT][:12].astype(dtype).astype("f4"))


def test_fortran_order_is_read_right(upstream, run, store):
    upstream.shards[FIRST]["vectors"] = np.asfortranarray(upstream.fused[CONCAT][:12])
    record = reconstruct(upstream, run)
    np.testing.assert_array_equal(read(store, record, upstream.ids), upstream.fused[CONCAT])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty_object"),
        (b"<Error>oops</Error>", "not_an_array"),
        ("cut", "truncated"),
        ("ids only", "missing_member"),
    ],
)
def test_unusable_shard_costs_its_rows_only(upstream, run, body, reason):
    if body == "cut":
        buffer = io.BytesIO()
        np.savez(buffer, **upstream.shards[SECOND])
        body = buffer.getvalue()[:-200]
    if body == "ids only":
        del upstream.shards[SECOND]["vectors"]
    else:
        upstream.raw[SECOND] = body
    record = reconstruct(upstream, run, max_quarantined_fraction=0.5)
    assert (record.rows, record.quarantined) == (12, {reason: 12})
    assert run.frame(record.rows_key)["video_id"].tolist() == upstream.ids[:12]
    assert set(quarantine(run)["key"]) == {SECOND}


@pytest.mark.parametrize("member", ["vectors", "video_ids"])
def test_pickle_in_a_shard_is_never_loaded(upstream, run, tripwire, member):
    array, unpickled = tripwire
    upstream.shards[FIRST][member] = array
    record = reconstruct(upstream, run, max_quarantined_fraction=0.5)
    assert record.quarantined == {"object_array": 12}
    assert not unpickled.exists()
    np.load(io.BytesIO(saved(array, pickle=True)), allow_pickle=True)  # the tripwire works
    assert unpickled.exists()


def test_shard_of_another_width_is_quarantined(upstream, run):
    upstream.shards[FIRST]["vectors"] = upstream.shards[FIRST]["vectors"][:, :-1]
    record = reconstruct(upstream, run, max_quarantined_fraction=0.5)
    assert record.quarantined == {"wrong_width": 12}
    assert "expected vectors of shape (n, 13), got (12, 12)" in quarantine(run)["detail"][0]


def test_without_a_schema_the_most_frequent_width_is_expected(upstream, run):
    upstream.schemas[CONCAT] = None
    upstream.manifests[CONCAT].loc[:3, "fused_dim"] = 99
    assert reconstruct(upstream, run).rows == 24


def test_malformed_schema_is_named(upstream, run):
    upstream.schemas[CONCAT] |= {"fused_dim": -1}
    with pytest.raises(DataError, match=r"fused_dim: Input should be greater.*in s3://.*schema.json"):
        reconstruct(upstream, run)


def test_too_many_quarantined_rows_fail_and_leave_the_list(upstream, run, store):
    upstream.manifests[CONCAT].loc[:1, "shard_idx"] = 99
    with pytest.raises(
        DataError, match=r"max_quarantined_fraction = 0.05 .* got 2 of 24 \(index_out_of_range 2; first: vid00[01], "
    ):
        reconstruct(upstream, run)
    assert quarantine(run)["video_id"].tolist() == ["vid000", "vid001"]
    assert store.head(keys.run_record(run.id, "reconstruct_fused_concat")) is None


def test_the_limit_itself_is_accepted(upstream, run):
    upstream.manifests[CONCAT].loc[:1, "shard_idx"] = 99
    assert reconstruct(upstream, run, max_quarantined_fraction=2 / 24).rows == 22


def test_no_usable_vector_at_all(upstream, run):
    upstream.manifests[CONCAT]["fused_key"] = "clipfarm/fused/x.npz"
    with pytest.raises(
        DataError,
        match=r"usable vectors for s3://.*fused_concat.lance, got none of 24 rows: .*no object at clipfarm/fused/x.npz",
    ):
        reconstruct(upstream, run, max_quarantined_fraction=1.0)


def test_nothing_changed_nothing_fetched(upstream, run):
    first = reconstruct(upstream, run)
    run.resolve("run-2")
    run.step("resolve_manifest", CONCAT)
    second = run.step("reconstruct_fused", CONCAT)
    assert second.throughput.objects == second.throughput.bytes == 0
    assert second.throughput.cached == second.rows == 24
    assert second.sha256 == first.sha256
    assert second.rows_key != first.rows_key
    assert second.version == first.version


def test_a_run_keeps_the_version_it_has_settled(upstream, run, store):
    """A night that is cleared after upstream has computed all vectors anew: half of it must not train on others."""
    first = reconstruct(upstream, run)
    for shard in upstream.shards.values():
        shard["vectors"] = shard["vectors"] + 1
    upstream.upload()
    assert run.step("reconstruct_fused", CONCAT) == first
    np.testing.assert_array_equal(read(store, first, upstream.ids), upstream.fused[CONCAT])
    following = reconstruct(upstream, run)
    assert following.version > first.version
    assert following.table_id == first.table_id


def test_a_settled_version_of_a_table_that_was_lost_and_made_anew_is_refused(upstream, run, store):
    first = reconstruct(upstream, run)
    settled = run.record
    store.delete([info.key for info in store.list(first.key + "/")])
    with pytest.raises(DataError, match=r"expected vector table s3://.*fused_concat.lance at version 1, got none"):
        run.step("reconstruct_fused", CONCAT)
    remade = reconstruct(upstream, run)
    assert (remade.version, remade.rows) == (first.version, first.rows)
    assert remade.table_id != first.table_id
    run.record = settled
    with pytest.raises(
        DataError, match=f"table with id {first.table_id}, got {remade.table_id}, in s3://.*made anew; st"
    ):
        run.step("reconstruct_fused", CONCAT)


def test_settled_rows_that_were_altered_are_told(upstream, run, store):
    first = reconstruct(upstream, run)
    store.put(first.rows_key, b"other")
    with pytest.raises(DataError, match="expected the usable videos that run .* has settled, got them lost or altered"):
        run.step("reconstruct_fused", CONCAT)


def test_only_shards_of_new_rows_are_fetched(upstream, run, store):
    everything = upstream.manifests[CONCAT]
    upstream.manifests[CONCAT] = everything.head(12)
    first = reconstruct(upstream, run)
    assert (first.rows, first.throughput.objects) == (12, 1)
    upstream.manifests[CONCAT] = everything
    second = reconstruct(upstream, run)
    assert (second.rows, second.throughput.objects, second.throughput.cached) == (24, 1, 12)
    np.testing.assert_array_equal(read(store, second, upstream.ids), upstream.fused[CONCAT])


def test_unusable_shard_is_not_read_again(upstream, run):
    upstream.raw = {SECOND: b""}
    first = reconstruct(upstream, run, max_quarantined_fraction=1.0)
    assert first.throughput.objects == 2
    again = reconstruct(upstream, run, max_quarantined_fraction=1.0, seed=1)
    assert (again.throughput.objects, again.throughput.cached) == (0, 24)
    assert again.quarantined == first.quarantined == {"empty_object": 12}
    upstream.raw = {}
    assert reconstruct(upstream, run, seed=2).throughput.objects == 1


def test_shard_that_vanished_costs_its_rows_and_leaves_the_version_before(upstream, run, store):
    first = reconstruct(upstream, run)
    store.delete([SECOND])
    del upstream.shards[SECOND]
    second = reconstruct(upstream, run, max_quarantined_fraction=1.0, seed=1)
    assert (second.rows, second.quarantined, second.throughput.objects) == (12, {"missing_object": 12}, 0)
    np.testing.assert_array_equal(read(store, first, upstream.ids), upstream.fused[CONCAT])


def test_rows_of_a_vanished_shard_that_nobody_names_leave_the_view(upstream, run, store):
    reconstruct(upstream, run)
    store.delete([SECOND])
    del upstream.shards[SECOND]
    upstream.manifests[CONCAT] = upstream.manifests[CONCAT].head(12)
    second = reconstruct(upstream, run)
    held = VectorTable(store, second.key).open(second.version).to_table(columns=["video_id"])
    assert sorted(held["video_id"].to_pylist()) == upstream.ids[:12]


def test_rows_made_by_other_rules_are_made_again(upstream, run, monkeypatch):
    reconstruct(upstream, run)
    monkeypatch.setattr("clipfarm_tasks.steps.reconstruct_fused.RULES", RULES + 1)
    second = reconstruct(upstream, run, seed=1)
    assert (second.throughput.cached, second.throughput.objects, second.rows) == (0, 2, 24)


def test_recaptured_video_moves_to_its_new_shard(upstream, run, store):
    first = reconstruct(upstream, run)
    newer = keys.fused_shard(CONCAT, "2026-03-03", 0)
    vector = np.full((1, 13), 7, dtype="f4")
    upstream.shards[newer] = {"video_ids": np.array(["vid002"]), "vectors": vector, "captured_at": np.array(["x"])}
    upstream.manifests[CONCAT].loc[2, ["fused_key", "shard_idx"]] = [newer, 0]
    second = reconstruct(upstream, run)
    assert second.throughput.objects == 1
    np.testing.assert_array_equal(read(store, second, ["vid002"]), vector)
    # The older version still answers as it did: a run trains on the version it is pinned to.
    np.testing.assert_array_equal(read(store, first, ["vid002"]), upstream.fused[CONCAT][2:3])


def test_held_vector_that_a_new_capture_makes_unusable_is_not_used_any_more(upstream, run):
    reconstruct(upstream, run)
    newer = keys.fused_shard(CONCAT, "2026-03-03", 0)
    vector = np.full((1, 13), np.nan, dtype="f4")
    upstream.shards[newer] = {"video_ids": np.array(["vid002"]), "vectors": vector, "captured_at": np.array(["x"])}
    upstream.manifests[CONCAT].loc[2, ["fused_key", "shard_idx"]] = [newer, 0]
    second = reconstruct(upstream, run)
    assert (second.rows, second.quarantined) == (23, {"not_finite": 1})
    assert "vid002" not in set(run.frame(second.rows_key)["video_id"])


def test_another_width_replaces_the_table(upstream, run, store):
    reconstruct(upstream, run)
    wider = np.hstack([upstream.fused[CONCAT], upstream.fused[CONCAT][:, :1]])
    for key, rows in ((FIRST, slice(0, 12)), (SECOND, slice(12, 24))):
        upstream.shards[key]["vectors"] = wider[rows]
    upstream.schemas[CONCAT] |= {"fused_dim": 14}
    second = reconstruct(upstream, run)
    assert (second.rows, second.throughput.objects) == (24, 2)
    np.testing.assert_array_equal(read(store, second, upstream.ids), wider)


def test_shard_larger_than_its_rows_explain_is_not_read(upstream, run):
    upstream.manifests[CONCAT]["shard_n"] = 12
    upstream.raw[SECOND] = b"PK" + bytes(2 * 2**20)
    record = reconstruct(upstream, run, max_quarantined_fraction=0.5)
    assert (record.rows, record.quarantined, record.throughput.objects) == (12, {"oversized": 12}, 1)
    again = reconstruct(upstream, run, max_quarantined_fraction=0.5, seed=1)
    assert (again.throughput.objects, again.throughput.cached) == (0, 24)


def test_shard_that_unpacks_to_more_than_its_rows_explain_costs_its_rows(upstream, run):
    upstream.manifests[CONCAT]["shard_n"] = 12
    body = io.BytesIO()
    np.savez_compressed(body, **upstream.shards[SECOND] | {"vectors": np.zeros((12, 2**20), "f4")})
    upstream.raw[SECOND] = body.getvalue()
    assert reconstruct(upstream, run, max_quarantined_fraction=0.5).quarantined == {"oversized": 12}


def test_ids_that_are_numbers_here_and_text_there_are_the_same(upstream, run):
    numbers = np.arange(100, 124)
    for row, key in ((0, FIRST), (12, SECOND)):
        upstream.shards[key]["video_ids"] = numbers[row : row + 12]
    for kind in (str, int, float):
        upstream.manifests[CONCAT]["video_id"] = numbers.astype(kind)
        record = reconstruct(upstream, run, seed=len(str(kind)))
        assert (record.rows, record.quarantined) == (24, {})
        assert run.frame(record.rows_key)["video_id"].tolist() == [str(number) for number in numbers]


def test_what_was_read_before_a_failure_is_kept(upstream, run, monkeypatch):
    upstream.upload()
    run.resolve()
    run.step("resolve_manifest", CONCAT)
    monkeypatch.setattr("clipfarm_tasks.steps.reconstruct_fused._SHARDS_IN_FLIGHT", 1)
    with monkeypatch.context() as patched:
        fail_at(patched, 2)
        with pytest.raises(TransientError, match="worker lost"):
            run.step("reconstruct_fused", CONCAT)
    record = run.step("reconstruct_fused", CONCAT)
    assert (record.rows, record.throughput.objects, record.throughput.cached) == (24, 1, 12)
