import io
import itertools
import threading

import numpy as np
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import DataError, MissingObjectError, TransientError
from clipfarm_tasks.families import Modality, Strategy
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.storage import Store
from clipfarm_tasks.vectors import fetch_modalities
from clipfarm_tasks.vectors.meter import Meter
from clipfarm_tasks.vectors.quarantine import RULES
from clipfarm_tasks.vectors.table import VectorTable

VIDEO, AUDIO, TEXT = Modality
NUMBERS = itertools.count(1)
WITH_TEXT = 1  # a row of `upstream` that has text; every sixth, row 0 first, has none


def reconstruct(upstream, run, **params):
    """Upload, then a run of its own up to and including reconstruct_modalities: a run settles its version once."""
    upstream.upload()
    run.resolve(**{"run_id": f"run-{next(NUMBERS)}"} | params)
    for strategy in run.record.strategies:
        run.step("resolve_manifest", strategy)
    return run.step("reconstruct_modalities")


def read(store, record, modality, ids):
    name = str(modality)
    return VectorTable(store, record.key).read([name], np.array(ids, dtype=object), record.version)[name]


def quarantine(run):
    return run.frame(keys.quarantine(run.id, "modalities"))


def text_present(run, record):
    return run.frame(record.rows_key).set_index("video_id")["text_present"].to_dict()


def test_every_vector_is_the_one_upstream_wrote(upstream, run, store):
    record = reconstruct(upstream, run)
    assert (record.rows, record.quarantined, record.table) == (24, {}, "modalities")
    assert record.throughput.objects == len(upstream.npy) == 24 + 24 + 20
    for modality in Modality:
        np.testing.assert_array_equal(read(store, record, modality, upstream.ids), upstream.vectors[modality])
    assert text_present(run, record) == dict(zip(upstream.ids, upstream.present.astype(int), strict=True))


def test_each_object_is_requested_once_and_requests_overlap(upstream, run, monkeypatch):
    asked, lock, another, overlapped, fetch = [], threading.Lock(), threading.Event(), [], Store._fetch_listed

    def watched(self, info):
        with lock:
            asked.append(info.key)
            alone = len(asked) == 1
        if alone:
            overlapped.append(another.wait(10))  # answered only when a second request is under way
        else:
            another.set()
        return fetch(self, info)

    monkeypatch.setattr(Store, "_fetch_listed", watched)
    reconstruct(upstream, run)
    assert overlapped == [True]
    assert sorted(asked) == sorted(upstream.npy)


@pytest.mark.parametrize("modality", list(Modality))
def test_object_overwritten_between_listing_and_reading_is_held_as_it_was_read(
    upstream, run, store, monkeypatch, modality
):
    key = upstream.key(modality, WITH_TEXT)
    newer = upstream.vectors[modality][WITH_TEXT] + 1
    body = io.BytesIO()
    np.save(body, newer)
    etags, get_listed = [], store.get_listed

    def overwritten(*arguments):
        etags.append(store.put(key, body.getvalue()))
        return get_listed(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(store, "get_listed", overwritten)
        first = reconstruct(upstream, run)
    assert (first.rows, len(etags)) == (24, 1)
    np.testing.assert_array_equal(read(store, first, modality, ["vid001"]), [newer])
    held = (
        VectorTable(store, first.key).open(first.version).to_table(columns=["video_id", f"{modality}_etag"]).to_pandas()
    )
    assert held.set_index("video_id")[f"{modality}_etag"]["vid001"] == etags[0] == store.head(key).etag
    run.resolve("next")
    run.step("resolve_manifest", Strategy.CONCAT)
    following = run.step("reconstruct_modalities")
    assert (following.throughput.objects, following.throughput.cached, following.rows) == (0, 24, 24)
    assert following.version == first.version


def test_videos_of_all_strategies_share_the_table(upstream, run):
    upstream.manifests[Strategy.CONCAT] = upstream.manifests[Strategy.CONCAT].head(16)
    upstream.manifests[Strategy.MAX_POOL] = upstream.manifests[Strategy.MAX_POOL].tail(16)
    record = reconstruct(upstream, run, strategies=["concat", "max_pool"])
    assert record.rows == 24
    assert record.throughput.objects == len(upstream.npy)


@pytest.mark.parametrize("undated", [Strategy.CONCAT, Strategy.MAX_POOL])
def test_dated_row_wins_over_an_undated_one_of_another_strategy(upstream, run, store, undated):
    upstream.npy["clipfarm/embeddings/elsewhere/undated.npy"] = np.full(4, 3, "f4")
    named = ["captured_at", "video_emb_key"]
    upstream.manifests[undated].loc[1, named] = ["", "clipfarm/embeddings/elsewhere/undated.npy"]
    record = reconstruct(upstream, run, strategies=["concat", "max_pool"])
    np.testing.assert_array_equal(read(store, record, VIDEO, upstream.ids), upstream.vectors[VIDEO])


def test_missing_manifest_of_one_strategy_does_not_stop_the_others(upstream, run):
    del upstream.manifests[Strategy.SUM_POOL]
    upstream.upload()
    run.resolve(strategies=["concat", "sum_pool"])
    run.step("resolve_manifest", Strategy.CONCAT)
    assert run.step("reconstruct_modalities").rows == 24


def test_strategy_whose_task_failed_is_not_left_out_of_what_the_run_settles(upstream, run):
    """Its manifest is there as the run has pinned it: when the task is repeated, the version stays the run's."""
    upstream.manifests[Strategy.CONCAT] = upstream.manifests[Strategy.CONCAT].head(16)
    upstream.upload()
    run.resolve(strategies=["concat", "max_pool"])
    run.step("resolve_manifest", Strategy.CONCAT)
    settled = run.step("reconstruct_modalities")
    assert settled.rows == 24
    run.step("resolve_manifest", Strategy.MAX_POOL)
    assert run.step("reconstruct_modalities") == settled


def test_manifest_that_breaks_a_rule_leaves_its_strategy_out(upstream, run):
    upstream.raw[keys.fused_manifest(Strategy.MAX_POOL)] = b"no Parquet"
    upstream.upload()
    run.resolve(strategies=["concat", "max_pool"])
    run.step("resolve_manifest", Strategy.CONCAT)
    assert run.step("reconstruct_modalities").rows == 24


def test_no_manifest_at_all(upstream, run):
    for strategy in (Strategy.CONCAT, Strategy.SUM_POOL):
        del upstream.manifests[strategy]
    upstream.upload()
    run.resolve(strategies=["concat", "sum_pool"])
    with pytest.raises(MissingObjectError, match="resolved manifest of one of concat, sum_pool, got none in run run-1"):
        run.step("reconstruct_modalities")


@pytest.mark.parametrize("modality", [VIDEO, AUDIO])
def test_missing_video_or_audio_vector_quarantines_the_video(upstream, run, modality):
    del upstream.npy[upstream.key(modality, 3)]
    record = reconstruct(upstream, run)
    assert (record.rows, record.quarantined) == (23, {"missing_object": 1})
    listed = quarantine(run).iloc[0]
    assert (listed["video_id"], listed["key"]) == ("vid003", upstream.key(modality, 3))
    assert f"{modality} vector, got no object" in listed["detail"]


def test_missing_text_vector_becomes_zeros_without_text(upstream, run, store):
    del upstream.npy[upstream.key(TEXT, WITH_TEXT)]
    record = reconstruct(upstream, run)
    assert (record.rows, record.quarantined) == (24, {})
    assert text_present(run, record)["vid001"] == 0
    assert not read(store, record, TEXT, ["vid001"]).any()
    np.testing.assert_array_equal(read(store, record, VIDEO, ["vid001"]), upstream.vectors[VIDEO][1:2])


def test_text_object_that_the_manifest_denies_is_not_used(upstream, run, store):
    upstream.npy[upstream.key(TEXT, 0)] = np.ones(5, "f4")
    record = reconstruct(upstream, run)
    assert text_present(run, record)["vid000"] == 0
    assert not read(store, record, TEXT, ["vid000"]).any()


@pytest.mark.parametrize("width", [3, 8])
def test_text_of_another_width_is_padded_or_cut(upstream, run, store, width):
    vector = np.arange(1, width + 1, dtype="f4")
    upstream.npy[upstream.key(TEXT, WITH_TEXT)] = vector
    record = reconstruct(upstream, run)
    assert record.quarantined == {}
    assert text_present(run, record)["vid001"] == 1
    expected = {3: [1, 2, 3, 0, 0], 8: [1, 2, 3, 4, 5]}[width]
    assert read(store, record, TEXT, ["vid001"]).tolist() == [expected]


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.array([1, 2, np.nan, 4, 5], "f4"), "not_finite"),
        (np.array([1, 2, np.inf, 4, 5], "f4"), "not_finite"),
        (np.ones((2, 5), "f4"), "wrong_shape"),
        (np.array(["a"] * 5), "unsupported_type"),
        (b"", "empty_object"),
        (b"\x93NUMPY\x01\x00", "truncated"),
        (b"<Error/>", "not_an_array"),
    ],
    ids=["nan", "inf", "matrix", "text", "empty", "truncated", "xml"],
)
def test_unusable_vector_quarantines_the_video(upstream, run, modality, value, reason):
    upstream.npy[upstream.key(modality, WITH_TEXT)] = value
    record = reconstruct(upstream, run)
    assert (record.rows, record.quarantined) == (23, {reason: 1})
    assert quarantine(run)[["video_id", "key"]].to_numpy().tolist() == [["vid001", upstream.key(modality, WITH_TEXT)]]


@pytest.mark.parametrize("modality", [VIDEO, AUDIO])
def test_video_or_audio_of_another_width_quarantines_the_video(upstream, run, modality):
    upstream.npy[upstream.key(modality, 2)] = np.ones(9, "f4")
    assert reconstruct(upstream, run).quarantined == {"wrong_width": 1}
    assert f"expected {modality} width {upstream.widths[modality]}, got 9" in quarantine(run)["detail"][0]


def test_pickled_vector_is_never_loaded(upstream, run, tripwire):
    array, unpickled = tripwire
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    upstream.npy[upstream.key(VIDEO, 2)] = buffer.getvalue()
    assert reconstruct(upstream, run).quarantined == {"object_array": 1}
    assert not unpickled.exists()
    np.load(io.BytesIO(buffer.getvalue()), allow_pickle=True)  # the tripwire works
    assert unpickled.exists()


def test_other_types_and_orders_are_converted(upstream, run, store):
    vectors = upstream.vectors[VIDEO]
    upstream.npy[upstream.key(VIDEO, 0)] = vectors[0].astype(np.float64)
    upstream.npy[upstream.key(VIDEO, 1)] = vectors[1].astype(">f4")
    upstream.npy[upstream.key(VIDEO, 2)] = np.asfortranarray(vectors[2:3])
    upstream.npy[upstream.key(VIDEO, 3)] = np.arange(4, dtype=np.int16)
    record = reconstruct(upstream, run)
    expected = np.vstack([vectors[:3], np.arange(4, dtype="f4")])
    np.testing.assert_array_equal(read(store, record, VIDEO, upstream.ids[:4]), expected)


def test_too_many_unusable_videos_fail_and_leave_the_list(upstream, run):
    for row in (2, 3):
        del upstream.npy[upstream.key(AUDIO, row)]
    with pytest.raises(DataError, match=r"max_quarantined_fraction = 0.05 .* got 2 of 24 \(missing_object 2; first: "):
        reconstruct(upstream, run)
    assert quarantine(run)["video_id"].tolist() == ["vid002", "vid003"]


def test_no_usable_video_at_all(upstream, run):
    upstream.npy = {}
    with pytest.raises(
        DataError,
        match=r"usable vectors for s3://.*modalities.lance, got none of 24 rows: .* got no object",
    ):
        reconstruct(upstream, run, max_quarantined_fraction=1.0)


def test_all_text_that_the_manifests_name_being_gone_is_refused(upstream, run, store):
    upstream.npy = {key: value for key, value in upstream.npy.items() if "/text/" not in key}
    with pytest.raises(
        DataError, match=r"max_text_loss = 0.2 of the text .* got 20 of 20 missing, in s3://.*modalities"
    ):
        reconstruct(upstream, run)
    assert store.head(keys.run_record(run.id, "reconstruct_modalities")) is None


def test_text_that_no_manifest_names_any_more_is_missed_against_the_last_complete_run(upstream, run, store):
    reconstruct(upstream, run)
    store.put(keys.run_record(run.id, "gate"), b"{}")
    upstream.manifests[Strategy.CONCAT]["text_present"] = 0
    with pytest.raises(DataError, match=r"in the last complete run, where 83.3% of the videos .* got 0 of 24 \(0.0%"):
        reconstruct(upstream, run)
    assert reconstruct(upstream, run, max_text_loss=1).text_present == 0


def test_no_text_at_all(upstream, run, store):
    upstream.npy = {key: value for key, value in upstream.npy.items() if "/text/" not in key}
    record = reconstruct(upstream, run, max_text_loss=1)
    assert record.rows == 24
    assert set(text_present(run, record).values()) == {0}
    assert read(store, record, TEXT, upstream.ids).shape == (24, 5)


def test_nothing_changed_nothing_fetched(upstream, run, store):
    first = reconstruct(upstream, run)
    second = reconstruct(upstream, run, seed=1)
    assert second.throughput.objects == second.throughput.bytes == 0
    assert second.throughput.cached == second.rows == 24
    assert second.version == first.version
    # A fresh and a cached run list the same rows in the same bytes.
    assert first.rows_key != second.rows_key
    assert store.get(first.rows_key) == store.get(second.rows_key)


@pytest.mark.parametrize("modality", list(Modality))
def test_changed_vector_is_fetched_again_and_no_other(upstream, run, store, modality):
    first = reconstruct(upstream, run)
    changed = upstream.vectors[modality][WITH_TEXT] + 1
    upstream.npy[upstream.key(modality, WITH_TEXT)] = changed
    second = reconstruct(upstream, run, seed=1)
    assert second.throughput.cached == 23
    assert second.throughput.objects == 1
    for other in Modality:
        expected = changed if other is modality else upstream.vectors[other][WITH_TEXT]
        np.testing.assert_array_equal(read(store, second, other, ["vid001"]), [expected])
    np.testing.assert_array_equal(read(store, first, modality, ["vid001"]), [upstream.vectors[modality][WITH_TEXT]])
    assert store.get(first.rows_key) == store.get(second.rows_key)


@pytest.mark.parametrize("modality", [VIDEO, AUDIO])
def test_unusable_object_is_not_read_again(upstream, run, modality):
    upstream.npy[upstream.key(modality, 2)] = b""
    del upstream.npy[upstream.key(modality, 3)]
    first = reconstruct(upstream, run, max_quarantined_fraction=0.1)
    assert first.throughput.objects == len(upstream.npy) - 2  # of video 3, nothing is read
    again = reconstruct(upstream, run, max_quarantined_fraction=0.1, seed=1)
    assert (again.throughput.objects, again.throughput.cached, again.rows) == (0, 24, 22)
    assert again.quarantined == first.quarantined == {"empty_object": 1, "missing_object": 1}


def test_video_that_vanished_leaves_the_view_and_stays_at_the_pinned_version(upstream, run, store):
    first = reconstruct(upstream, run)
    gone = [key for key in upstream.npy if "vid003" in key or key == upstream.key(AUDIO, 5)]
    store.delete(gone)
    for key in gone:
        del upstream.npy[key]
    upstream.manifests[Strategy.CONCAT] = upstream.manifests[Strategy.CONCAT].query("video_id != 'vid003'")
    second = reconstruct(upstream, run)
    held = VectorTable(store, second.key).open(second.version).to_table(columns=["video_id", "reason"]).to_pandas()
    assert "vid003" not in set(held["video_id"])
    assert held.set_index("video_id")["reason"]["vid005"] == "missing_object"
    assert (second.rows, second.quarantined) == (22, {"missing_object": 1})
    np.testing.assert_array_equal(read(store, first, VIDEO, upstream.ids), upstream.vectors[VIDEO])


def test_video_of_another_strategy_is_left_alone(upstream, run, store):
    upstream.manifests[Strategy.CONCAT] = upstream.manifests[Strategy.CONCAT].head(16)
    reconstruct(upstream, run, strategies=[Strategy.MAX_POOL])
    record = reconstruct(upstream, run)
    held = VectorTable(store, record.key).open(record.version).to_table(columns=["video_id"])
    assert (record.rows, held.num_rows) == (16, 24)


def test_text_that_arrives_later_flips_text_present(upstream, run, store):
    late = upstream.npy.pop(upstream.key(TEXT, WITH_TEXT))
    first = reconstruct(upstream, run)
    upstream.npy[upstream.key(TEXT, WITH_TEXT)] = late
    second = reconstruct(upstream, run, seed=1)
    assert (text_present(run, first)["vid001"], text_present(run, second)["vid001"]) == (0, 1)
    np.testing.assert_array_equal(read(store, second, TEXT, ["vid001"]), [late])


def test_text_that_is_taken_back_flips_text_present(upstream, run, store):
    first = reconstruct(upstream, run)
    store.delete([upstream.key(TEXT, WITH_TEXT)])
    del upstream.npy[upstream.key(TEXT, WITH_TEXT)]
    second = reconstruct(upstream, run, seed=1)
    assert (text_present(run, first)["vid001"], text_present(run, second)["vid001"]) == (1, 0)
    assert not read(store, second, TEXT, ["vid001"]).any()


def test_repaired_video_comes_back(upstream, run, store):
    key = upstream.key(VIDEO, 2)
    upstream.npy[key] = b""
    assert reconstruct(upstream, run).rows == 23
    upstream.npy[key] = upstream.vectors[VIDEO][2]
    record = reconstruct(upstream, run, seed=1)
    assert (record.rows, record.quarantined, record.throughput.cached) == (24, {}, 23)
    assert record.throughput.objects == 3
    np.testing.assert_array_equal(read(store, record, VIDEO, upstream.ids), upstream.vectors[VIDEO])


@pytest.mark.parametrize("modality", list(Modality))
def test_held_vector_that_upstream_makes_unusable_is_not_used_any_more(upstream, run, modality):
    reconstruct(upstream, run)
    upstream.npy[upstream.key(modality, WITH_TEXT)] = np.full_like(upstream.vectors[modality][WITH_TEXT], np.nan)
    second = reconstruct(upstream, run, seed=1)
    assert (second.rows, second.quarantined) == (23, {"not_finite": 1})
    assert "vid001" not in text_present(run, second)


def test_declared_widths_that_change_replace_the_table(upstream, run, store):
    reconstruct(upstream, run)
    upstream.schemas[Strategy.CONCAT] |= {"audio_dim": 2}
    for row in range(24):
        upstream.npy[upstream.key(AUDIO, row)] = upstream.vectors[AUDIO][row, :2]
    record = reconstruct(upstream, run)
    assert (record.rows, record.throughput.cached) == (24, 0)
    np.testing.assert_array_equal(read(store, record, AUDIO, upstream.ids), upstream.vectors[AUDIO][:, :2])


def test_without_a_schema_the_widths_are_those_of_the_vectors(upstream, run, store):
    upstream.schemas[Strategy.CONCAT] = None
    upstream.npy[upstream.key(VIDEO, 2)] = np.ones(9, "f4")
    record = reconstruct(upstream, run)
    assert record.quarantined == {"wrong_width": 1}
    assert read(store, record, VIDEO, ["vid003"]).shape == (1, 4)


def test_network_failure_never_becomes_a_smaller_data_set(upstream, run, store, monkeypatch):
    upstream.upload()
    run.resolve()
    run.step("resolve_manifest", Strategy.CONCAT)

    def broken(objects, concurrency=None):
        raise TimeoutError("reset by peer")

    monkeypatch.setattr(store, "get_listed", broken)
    with pytest.raises(TimeoutError):
        run.step("reconstruct_modalities")
    assert store.head(keys.run_record(run.id, "reconstruct_modalities")) is None
    assert not store.list(f"{keys.run_prefix(run.id)}vectors/")


def test_a_run_keeps_the_version_it_has_settled(upstream, run):
    del upstream.npy[upstream.key(VIDEO, 2)]
    first = reconstruct(upstream, run)
    upstream.npy[upstream.key(VIDEO, 2)] = np.ones(4, "f4")
    upstream.upload()
    assert run.step("reconstruct_modalities") == first
    assert reconstruct(upstream, run).rows == 24


def test_attempt_that_comes_late_takes_over_what_another_has_settled(upstream, run, monkeypatch):
    """Two workers on one task, between which upstream changes: both tell of one version."""
    upstream.upload()
    run.resolve()
    run.step("resolve_manifest", Strategy.CONCAT)
    context_settles, other = StepContext.settle, []

    def settle(context, task, record):
        if not other:
            other.append(None)
            upstream.npy[upstream.key(VIDEO, 2)] = np.ones(4, "f4")
            upstream.upload()
            other.append(run.step("reconstruct_modalities"))
        return context_settles(context, task, record)

    monkeypatch.setattr(StepContext, "settle", settle)
    slow = run.step("reconstruct_modalities")
    assert slow == other[1]
    assert slow.version > 1


def test_text_comes_first_without_declared_width_and_is_not_cut(upstream, run, store):
    upstream.schemas = dict.fromkeys(Strategy)
    texts = {key: value for key, value in upstream.npy.items() if "/text/" in key}
    upstream.npy = {key: value for key, value in upstream.npy.items() if key not in texts}
    first = reconstruct(upstream, run, max_text_loss=1)
    assert read(store, first, TEXT, upstream.ids).shape == (24, 4)  # as wide as the video's
    upstream.npy |= {key: value[:4] for key, value in texts.items()}
    record = reconstruct(upstream, run, seed=1)
    np.testing.assert_array_equal(read(store, record, TEXT, upstream.ids[1:2])[0], texts[upstream.key(TEXT, 1)][:4])


def test_object_outside_the_usual_folder_is_found(upstream, run, store):
    key = "clipfarm/embeddings/elsewhere/a.npy"
    upstream.npy[key] = np.full(5, 3, "f4")
    upstream.manifests[Strategy.CONCAT].loc[1, "text_emb_key"] = key
    record = reconstruct(upstream, run)
    np.testing.assert_array_equal(read(store, record, TEXT, upstream.ids[1:2])[0], np.full(5, 3, "f4"))
    assert record.text_missing == 0


def test_widths_are_never_learnt_from_unreadable_vectors(upstream, run, store):
    upstream.schemas = dict.fromkeys(Strategy)
    whole, upstream.npy = upstream.npy, dict.fromkeys(upstream.npy, b"")
    with pytest.raises(DataError, match="expected a readable video vector to learn the width from"):
        reconstruct(upstream, run)
    upstream.npy = whole
    record = reconstruct(upstream, run, seed=1)
    np.testing.assert_array_equal(read(store, record, VIDEO, upstream.ids), upstream.vectors[VIDEO])


def test_undeclared_widths_follow_upstream_when_it_embeds_everything_anew(upstream, run, store):
    upstream.schemas = dict.fromkeys(Strategy)
    reconstruct(upstream, run)
    wider = np.hstack([upstream.vectors[VIDEO], upstream.vectors[VIDEO]])
    upstream.npy |= {upstream.key(VIDEO, row): wider[row] for row in range(24)}
    record = reconstruct(upstream, run, seed=1)
    assert record.rows == 24
    np.testing.assert_array_equal(read(store, record, VIDEO, upstream.ids), wider)
    np.testing.assert_array_equal(read(store, record, AUDIO, upstream.ids), upstream.vectors[AUDIO])


def test_few_vectors_of_another_width_do_not_replace_the_table(upstream, run):
    upstream.schemas = dict.fromkeys(Strategy)
    reconstruct(upstream, run)
    upstream.npy[upstream.key(VIDEO, 2)] = np.ones(9, "f4")
    record = reconstruct(upstream, run, seed=1)
    assert (record.rows, record.quarantined, record.throughput.objects) == (23, {"wrong_width": 1}, 1)


def test_rows_made_by_other_rules_are_made_again(upstream, run, monkeypatch):
    upstream.npy[upstream.key(VIDEO, 2)] = b""
    first = reconstruct(upstream, run)
    monkeypatch.setattr("clipfarm_tasks.steps.reconstruct_modalities.RULES", RULES + 1)
    second = reconstruct(upstream, run, seed=1)
    assert (second.throughput.cached, second.throughput.objects) == (0, first.throughput.objects)
    assert reconstruct(upstream, run, seed=2).throughput.cached == 24


def test_what_another_run_merged_after_our_listing_is_not_dropped(upstream, run, store, monkeypatch):
    late = {key: upstream.npy.pop(key) for key in list(upstream.npy) if "vid023" in key}
    before = upstream.manifests[Strategy.CONCAT]
    upstream.manifests[Strategy.CONCAT] = before.head(23)
    upstream.upload()
    run.resolve("slow")
    run.step("resolve_manifest", Strategy.CONCAT)
    listing = list(store.list_many([keys.embeddings_prefix(modality) for modality in Modality]))
    upstream.npy |= late
    upstream.manifests[Strategy.CONCAT] = before
    slow, record = run.record, reconstruct(upstream, run, run_id="fast")
    run.record = slow
    with monkeypatch.context() as patched:
        patched.setattr(store, "list_many", lambda prefixes: iter(listing))
        run.step("reconstruct_modalities")
    assert VectorTable(store, record.key).version() == record.version
    assert reconstruct(upstream, run, run_id="next").throughput.objects == 0


def test_verdicts_of_another_strategy_are_not_dropped_and_made_in_turn(upstream, run):
    del upstream.npy[upstream.key(VIDEO, 20)]
    upstream.manifests[Strategy.MAX_POOL] = upstream.manifests[Strategy.MAX_POOL].head(16)
    versions = [
        reconstruct(upstream, run, strategies=[strategy], seed=seed).version
        for seed in (1, 2)
        for strategy in (Strategy.CONCAT, Strategy.MAX_POOL)
    ]
    assert len(set(versions)) == 1


def test_bodies_wait_for_their_chunk_within_the_bytes_that_may_be_in_flight(upstream, run, monkeypatch):
    run.settings = run.store.settings = run.settings.model_copy(update={"in_flight_mib": 1})
    wide = {Modality.VIDEO: 40_000, Modality.AUDIO: 3, Modality.TEXT: 5}
    upstream.schemas = dict.fromkeys(Strategy)
    upstream.npy |= {upstream.key(VIDEO, row): np.full(wide[VIDEO], row, "f4") for row in range(24)}
    waiting, begin = [], fetch_modalities._Chunk.begin

    def counted(chunk, judge):
        waiting.append(len(chunk.rows))
        return begin(chunk, judge)

    monkeypatch.setattr(fetch_modalities._Chunk, "begin", counted)
    assert reconstruct(upstream, run).rows == 24
    assert waiting == [1] * 24  # 160 kB each, a quarter of a MiB at most


def test_text_that_is_named_but_missing_is_counted(upstream, run):
    del upstream.npy[upstream.key(TEXT, 1)]
    record = reconstruct(upstream, run)
    assert (record.rows, record.text_missing, record.text_present) == (24, 1, 19)


@pytest.mark.parametrize("modality", list(Modality))
def test_key_that_leads_elsewhere_is_never_asked_for(upstream, run, store, monkeypatch, modality):
    key = "airflow/logs/private.npy"
    upstream.npy[key] = upstream.vectors[modality][WITH_TEXT]
    upstream.manifests[Strategy.CONCAT].loc[WITH_TEXT, f"{modality}_emb_key"] = key
    asked, ask, fetch = [], Store._ask, Store._fetch_listed
    monkeypatch.setattr(Store, "_ask", lambda self, name: asked.append(name) or ask(self, name))
    monkeypatch.setattr(Store, "_fetch_listed", lambda self, info: asked.append(info.key) or fetch(self, info))
    record = reconstruct(upstream, run)
    assert (record.rows, record.quarantined) == (23, {"foreign_key": 1})
    listed = quarantine(run).iloc[0]
    assert (listed["video_id"], listed["key"]) == ("vid001", key)
    assert f"expected a key below clipfarm/embeddings/,clipfarm/fused/, got {key}" in listed["detail"]
    assert key not in asked
    assert len(asked) > 24
    assert reconstruct(upstream, run, seed=1).throughput.cached == 24


def test_prefixes_of_upstream_are_a_setting(upstream, run):
    key = "elsewhere/a.npy"
    upstream.npy[key] = upstream.vectors[VIDEO][WITH_TEXT]
    upstream.manifests[Strategy.CONCAT].loc[WITH_TEXT, "video_emb_key"] = key
    assert reconstruct(upstream, run).rows == 23
    run.settings = run.settings.model_copy(update={"upstream_prefixes": "clipfarm/embeddings/,elsewhere/"})
    assert reconstruct(upstream, run, seed=1).rows == 24


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("declared", [True, False])
def test_object_larger_than_a_vector_can_be_is_not_read(upstream, run, modality, declared):
    upstream.npy[upstream.key(modality, WITH_TEXT)] = bytes(100_000 if declared else 17 * 2**20)
    if not declared:
        upstream.schemas = dict.fromkeys(Strategy)
    record = reconstruct(upstream, run)
    assert (record.rows, record.quarantined) == (23, {"oversized": 1})
    assert record.throughput.bytes < 100_000
    again = reconstruct(upstream, run, seed=1)
    assert (again.throughput.objects, again.throughput.cached) == (0, 24)


def test_malformed_header_costs_one_video(upstream, run):
    body = io.BytesIO()
    np.save(body, upstream.vectors[VIDEO][2])
    upstream.npy[upstream.key(VIDEO, 2)] = body.getvalue().replace(b"(4,)", b"(-1)")
    assert reconstruct(upstream, run).quarantined == {"not_an_array": 1}


def test_what_had_arrived_before_a_failure_is_kept(upstream, run, monkeypatch):
    upstream.upload()
    run.resolve()
    run.step("resolve_manifest", Strategy.CONCAT)
    count, add = itertools.count(1), Meter.add

    def failing(self, body):
        if next(count) == 60:
            raise TransientError("worker lost")
        add(self, body)

    with monkeypatch.context() as patched:
        patched.setattr(Meter, "add", failing)
        with pytest.raises(TransientError, match="worker lost"):
            run.step("reconstruct_modalities")
    record = run.step("reconstruct_modalities")
    assert record.rows == 24
    assert record.throughput.cached >= 24 - 9  # of nine objects that had not arrived
    assert record.throughput.objects <= 27
