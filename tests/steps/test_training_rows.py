import json
import math

import numpy as np
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import MetadataRecord
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Family, Horizon, Modality, Strategy
from clipfarm_tasks.steps.training_rows import training_rows

PAIR = (Strategy.CONCAT, Horizon.D7)


@pytest.fixture
def ready(upstream, run):
    del upstream.npy[upstream.key(Modality.VIDEO, 4)]
    upstream.upload()
    run.resolve(strategies=["concat", "max_pool"], models=list(Family))
    run.splits()
    return run


def positions(upstream, rows):
    return [upstream.ids.index(video_id) for video_id in rows.data.rows["video_id"]]


def test_features_labels_and_vectors_belong_to_the_same_videos(upstream, ready):
    rows = training_rows(ready.context, *PAIR, Family.CONCAT_MLP)
    order = positions(upstream, rows)
    assert order == [row for row in range(24) if row != 4]
    np.testing.assert_array_equal(rows.inputs.fused, upstream.fused[PAIR[0]][order])
    metadata = upstream.metadata[upstream.metadata["horizon_days"] == 7].iloc[order]
    np.testing.assert_allclose(rows.target, np.log1p(metadata["horizon_view_count"]), rtol=1e-6)
    for name in ("channel_subscriber_count", "channel_country"):
        assert rows.inputs.metadata[name].tolist() == metadata[name].tolist()
    assert rows.inputs.metadata["has_hashtags"].tolist() == [
        {"True": 1.0, "yes": 1.0, "0": 0.0, "no": 0.0}[text] for text in metadata["has_hashtags"]
    ]
    assert rows.inputs.text_present.tolist() == upstream.present[order].tolist()


def test_parts_are_those_of_the_split_manifest(ready):
    rows = training_rows(ready.context, *PAIR, Family.RIDGE)
    together = np.concatenate([rows.part(name) for name in ("train", "val", "test")])
    assert sorted(together) == list(range(23))
    assert set(rows.data.rows["split"].iloc[rows.part("val")]) == {"val"}


@pytest.mark.parametrize("family", list(Family))
def test_a_family_gets_only_the_vectors_it_sees(upstream, ready, family):
    rows = training_rows(ready.context, *PAIR, family)
    seen = {name for name in ("fused", *map(str, Modality)) if getattr(rows.inputs, name) is not None}
    assert seen == ({"video", "audio", "text"} if family is Family.GATED_FUSION_MLP else {"fused"})
    order = positions(upstream, rows)
    for modality in Modality:
        vectors = getattr(rows.inputs, modality)
        assert vectors is None or np.array_equal(vectors, upstream.vectors[modality][order])


def test_vectors_are_those_of_the_split_s_versions_and_not_the_newest(upstream, ready):
    """Between the split and a job another run moves both tables on."""
    context, video_id = ready.context, upstream.ids[3]
    newer = keys.fused_shard(PAIR[0], "2026-03-03", 0)
    fused = upstream.fused[PAIR[0]][3:4] + 1
    upstream.shards[newer] = {"video_ids": np.array([video_id]), "vectors": fused, "captured_at": np.array(["x"])}
    upstream.manifests[PAIR[0]].loc[3, ["fused_key", "shard_idx"]] = [newer, 0]
    for modality in Modality:
        upstream.npy[upstream.key(modality, 3)] = upstream.vectors[modality][3] + 1
    upstream.upload()
    ready.resolve("run-2", models=list(Family))
    ready.splits()
    expected = {"fused": upstream.fused[PAIR[0]][3], **{str(name): upstream.vectors[name][3] for name in Modality}}
    for family in (Family.RIDGE, Family.GATED_FUSION_MLP):
        for owner, change in ((context, 0), (ready.context, 1)):  # the other run does see what is new
            rows = training_rows(owner, *PAIR, family)
            row = rows.data.rows["video_id"].tolist().index(video_id)
            for name, vector in expected.items():
                found = getattr(rows.inputs, name)
                assert found is None or np.array_equal(found[row], vector + np.float32(change)), (name, change)


def test_video_whose_held_vector_became_unusable_is_no_training_row(upstream, ready):
    upstream.npy[upstream.key(Modality.AUDIO, 3)] = np.full(3, np.nan, "f4")
    upstream.upload()
    ready.resolve("run-2", models=list(Family), max_quarantined_fraction=0.1)
    ready.splits()
    order = positions(upstream, training_rows(ready.context, *PAIR, Family.GATED_FUSION_MLP))
    assert order == [row for row in range(24) if row not in (3, 4)]


def test_rows_lost_on_the_way_are_told_by_stage(ready):
    dropped = training_rows(ready.context, *PAIR, Family.RIDGE).data.dropped
    assert dropped == {
        "metadata": {"other_horizon": 24},
        "manifest": {},
        "fused_concat": {},
        "modalities": {"missing_object": 1},
        "join": {"no_modality_vectors": 1},
    }


def test_digest_of_the_rows_changes_with_anything_a_fit_sees(ready):
    rows = training_rows(ready.context, *PAIR, Family.GATED_FUSION_MLP)
    other = training_rows(ready.context, Strategy.MAX_POOL, Horizon.D7, Family.GATED_FUSION_MLP)
    assert rows.sha256() == other.sha256()  # it does not see the fused vectors
    assert rows.sha256() != training_rows(ready.context, *PAIR, Family.RIDGE).sha256()
    before = rows.sha256()
    for change in (
        lambda: rows.inputs.text.__setitem__((1, 0), 9.0),
        lambda: rows.inputs.text_present.__setitem__(1, 0.5),
        lambda: rows.target.__setitem__(0, rows.target[0] + 1),
        lambda: rows.inputs.metadata.__setitem__("channel_subscriber_count", 1.0),
        lambda: rows.data.rows.__setitem__("split", "train"),
    ):
        change()
        assert rows.sha256() != before
        before = rows.sha256()


def replace_report(run, record, body):
    """As if filter_metadata had written this report."""
    sha256 = run.context.put_bytes(record.report_key, body)
    task = keys.task_id("filter_metadata", horizon=Horizon.D7)
    changed = record.model_copy(update={"report_sha256": sha256})
    run.store.put(keys.run_record(run.id, task), changed.model_dump_json().encode())


@pytest.mark.parametrize("leak", ["view_count", "horizon_view_count", "likes_per_day", "shares_per_view"])
def test_leakage_column_forced_into_the_features_is_refused(ready, store, leak):
    record = ready.context.record(MetadataRecord, keys.task_id("filter_metadata", horizon=Horizon.D7))
    report = json.loads(store.get(record.report_key))
    report["features"]["numeric_cols"].append(leak)
    replace_report(ready, record, json.dumps(report).encode())
    with pytest.raises(DataError, match=rf"tells the label, got {leak}, in the features of s3://.*horizon=7.report"):
        ready.step("train", *PAIR, Family.RIDGE)
    assert ready.files(keys.job_snapshot(ready.id, Family.RIDGE, *PAIR)) == {}


def test_report_that_is_not_one_is_named(ready, store):
    record = ready.context.record(MetadataRecord, keys.task_id("filter_metadata", horizon=Horizon.D7))
    replace_report(ready, record, b'{"features": 1}')
    with pytest.raises(DataError, match="expected a valid MetadataReport, got .*horizon=7.report.json"):
        training_rows(ready.context, *PAIR, Family.RIDGE)


def test_leakage_columns_that_were_checked_are_no_features(ready):
    data = training_rows(ready.context, *PAIR, Family.RIDGE).data
    assert {"horizon_view_count", "horizon_days", "view_count", "virality_score"} <= set(data.leakage_columns_checked)
    assert not set(data.leakage_columns_checked) & {*data.lists.numeric_cols, *data.lists.categorical_cols}


def test_target_is_never_negative_or_missing(upstream, run):
    upstream.metadata.loc[0, "horizon_view_count"] = -3
    upstream.metadata.loc[1, "horizon_view_count"] = math.nan
    upstream.upload()
    run.resolve()
    run.splits()
    rows = training_rows(run.context, *PAIR, Family.RIDGE)
    assert rows.target[0] == 0.0
    assert "vid001" not in set(rows.data.rows["video_id"])
