import hashlib
import json

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import ConfigError, DataError, MissingObjectError
from clipfarm_tasks.families import Horizon, Modality, Strategy

PAIR = (Strategy.CONCAT, Horizon.D7)


def split(upstream, run, **params):
    upstream.upload()
    run.resolve(**params)
    return run.splits()[PAIR]


def test_manifest_holds_the_rows_of_all_three_sides(upstream, run):
    upstream.metadata = upstream.metadata[upstream.metadata["video_id"] != "vid001"]
    upstream.manifests[PAIR[0]].loc[2, "shard_idx"] = 99
    del upstream.npy[upstream.key(Modality.AUDIO, 3)]
    record = split(upstream, run)
    frame = run.frame(record.key)
    assert frame.columns.tolist() == ["video_id", "split", "text_present", "target_log", "target_raw", "creator"]
    assert frame["video_id"].tolist() == [name for name in upstream.ids if name not in ("vid001", "vid002", "vid003")]
    assert record.dropped == {
        "fused_concat": {"index_out_of_range": 1},
        "modalities": {"missing_object": 1},
        "split": {},
        "join": {"no_metadata": 1, "no_fused_vector": 1, "no_modality_vectors": 1},
    }
    views = upstream.metadata.set_index(["horizon_days", "video_id"])["horizon_view_count"][7][frame["video_id"]]
    np.testing.assert_array_equal(frame["target_raw"], views)
    np.testing.assert_allclose(frame["target_log"], np.log1p(views))
    present = dict(zip(upstream.ids, upstream.present, strict=True))
    assert frame["text_present"].tolist() == [int(present[name]) for name in frame["video_id"]]


def test_parts_are_those_of_the_horizons_split_for_every_strategy(upstream, run):
    """One vector less in one strategy deals nothing anew."""
    upstream.manifests[Strategy.SUM_POOL].loc[20, "shard_idx"] = 99
    upstream.upload()
    run.resolve(strategies=list(Strategy), seed=5, max_quarantined_fraction=0.1)
    records = run.splits()
    videos = run.frame(keys.video_split(run.id, Horizon.D7)).set_index("video_id")["split"]
    for (strategy, _), record in records.items():
        parts = run.frame(record.key).set_index("video_id")["split"]
        assert len(parts) == (23 if strategy is Strategy.SUM_POOL else 24)
        assert parts.to_dict() == videos[parts.index].to_dict()
    record = records[PAIR]
    assert (record.n_train, record.n_val, record.n_test) == (16, 3, 5)


def test_repeated_split_keeps_rows_and_versions_although_upstream_moved_on(upstream, run, store):
    """Jobs may have trained on them: with other versions the jobs that are left would never make a pair."""
    first = split(upstream, run)
    upstream.npy[upstream.key(Modality.AUDIO, 3)] = np.ones(3, "f4")
    upstream.upload()
    assert run.step("reconstruct_modalities").version == first.tables["modalities"]
    assert run.step("build_split", *PAIR) == first


def test_too_many_lost_videos_are_refused_with_their_counts(upstream, run):
    upstream.manifests[PAIR[0]] = upstream.manifests[PAIR[0]].head(19)
    with pytest.raises(
        DataError,
        match=r"expected at most max_lost_fraction = 0.2 of the rows or labelled videos lost, got 5 of 24 "
        r"\(no_fused_vector 5\), in concat, horizon 7 days, run run-1",
    ):
        split(upstream, run)
    assert split(upstream, run, run_id="run-2", max_lost_fraction=0.3).n_train < 16


def test_a_pair_that_has_lost_a_whole_part_is_refused(upstream, run):
    upstream.upload()
    run.resolve()
    run.vectors()
    parts = run.frame(keys.video_split(run.id, Horizon.D7)).set_index("video_id")["split"]
    left = [row for row, name in enumerate(upstream.ids) if parts[name] != "val"]
    upstream.manifests[PAIR[0]] = upstream.manifests[PAIR[0]].iloc[left]
    with pytest.raises(
        DataError, match=r"expected rows in every part, got train 16, val 0, test 5, in concat, horizon 7"
    ):
        split(upstream, run, run_id="run-2")


def test_same_seed_same_bytes_and_other_seed_other_split(upstream, run):
    first = split(upstream, run, run_id="one", seed=5)
    again = split(upstream, run, run_id="two", seed=5)
    assert again.key != first.key
    assert again.sha256 == first.sha256
    assert split(upstream, run, run_id="three", seed=6).sha256 != first.sha256


def test_chronological_split_tests_on_the_newest(upstream, run):
    days = np.random.default_rng(2).permutation(24) + 1
    upstream.metadata["captured_at"] = [f"2026-01-{day:02d}T00:00:00Z" for day in [*days, *days]]
    record = split(upstream, run, split_strategy="chronological")
    frame = run.frame(record.key)
    day = frame["video_id"].map(dict(zip(upstream.ids, days, strict=True)))
    assert day[frame["split"] == "train"].max() < day[frame["split"] == "val"].min()
    assert day[frame["split"] == "val"].max() < day[frame["split"] == "test"].min()
    assert day[frame["split"] == "train"].max() <= day[frame["split"] == "test"].min() - 7
    assert record.dropped["split"] == {"embargo": 24 - len(frame)}


def test_cost_of_both_tables_is_kept(upstream, run):
    upstream.upload()
    run.resolve()
    fused, modalities = run.vectors()
    record = run.step("build_split", *PAIR)
    costs = {"fused_concat": fused[PAIR[0]].throughput, "modalities": modalities.throughput}
    assert record.assembly == {table: cost.model_dump() for table, cost in costs.items()}
    assert record.assembly["modalities"]["objects"] == len(upstream.npy)


def test_fewer_than_twelve_rows(upstream, run):
    upstream.metadata = upstream.metadata[upstream.metadata["video_id"].isin(upstream.ids[:11])]
    with pytest.raises(DataError, match="at least 12 rows to split, got 11, in horizon 7 days, run run-1"):
        split(upstream, run)


def test_twelve_rows_are_enough(upstream, run):
    upstream.metadata = upstream.metadata[upstream.metadata["video_id"].isin(upstream.ids[:12])]
    record = split(upstream, run)
    assert min(record.n_train, record.n_val, record.n_test) >= 1
    assert record.n_train + record.n_val + record.n_test == 12


def test_empty_join(upstream, run):
    upstream.metadata["video_id"] = "other-" + upstream.metadata["video_id"]
    with pytest.raises(
        DataError, match="got none in common of 24 labelled, 24 fused and 24 modality ids, in concat, h"
    ):
        split(upstream, run)


def test_ratios_that_do_not_sum_to_one_never_get_here(upstream, run):
    upstream.upload()
    with pytest.raises(ConfigError, match=r"must be 1, got 0.7 \+ 0.15 \+ 0.2 = 1.05"):
        run.resolve(test_ratio=0.2)


def test_order_of_upstream_rows_does_not_matter(upstream, run):
    first = split(upstream, run)
    upstream.metadata = upstream.metadata.sample(frac=1, random_state=1)
    upstream.manifests[PAIR[0]] = upstream.manifests[PAIR[0]].sample(frac=1, random_state=2)
    assert split(upstream, run).sha256 == first.sha256


def test_needs_the_tasks_before_it(upstream, run):
    upstream.upload()
    run.resolve()
    with pytest.raises(MissingObjectError, match="expected split_videos_7d to have finished, got no record at"):
        run.step("build_split", *PAIR)


def test_working_set_that_was_tampered_with_is_noticed(upstream, run, store):
    upstream.upload()
    run.resolve()
    run.vectors()
    store.put(keys.video_split(run.id, Horizon.D7), pd.DataFrame({"video_id": ["a"]}).to_parquet())
    with pytest.raises(DataError, match=r"expected sha256 [0-9a-f]{64}, got [0-9a-f]{64}, in s3://.*horizon=7.parquet"):
        run.step("build_split", *PAIR)


@pytest.mark.parametrize("lost", [True, False])
def test_split_that_was_lost_or_altered_is_written_again(upstream, run, store, lost):
    first = split(upstream, run)
    body = store.get(first.key)
    if lost:
        store.delete([first.key])
    else:
        store.put(first.key, body[:100])
    assert run.step("build_split", *PAIR) == first
    assert store.get(first.key) == body


def test_lost_split_that_cannot_be_made_again_is_told(upstream, run, store):
    first = split(upstream, run)
    store.delete([first.key])
    task = keys.run_record(run.id, "split_videos_7d")
    videos = json.loads(store.get(task))
    body = run.frame(videos["key"]).head(20).to_parquet(index=False)
    store.put(videos["key"], body)
    store.put(task, json.dumps(videos | {"sha256": hashlib.sha256(body).hexdigest()}).encode())
    with pytest.raises(DataError, match="got it lost, and what it was made of has changed since: start a new run"):
        run.step("build_split", *PAIR)


def test_attempt_that_comes_late_takes_over_the_settled_record(upstream, run, store):
    """A zombie that read other vectors: neither its rows nor its versions replace those that jobs may train on."""
    first = split(upstream, run)
    zombie = first.model_copy(update={"sha256": "0" * 64, "tables": {"modalities": 99}})
    assert run.context.settle(keys.task_id("build_split", *PAIR), zombie) == first
