import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import MetadataRecord, SplitRecord
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Family, Horizon, Modality, Strategy
from clipfarm_tasks.steps.context import parquet_bytes
from clipfarm_tasks.steps.training_rows import family_digests, training_rows
from clipfarm_tasks.vectors.table import VectorTable

PAIR = (Strategy.CONCAT, Horizon.D7)
OF_MODALITIES = (Family.GATED_FUSION_MLP, Family.KERNEL)


def without_a_vector(upstream):
    del upstream.npy[upstream.key(Modality.VIDEO, 4)]


def splits(upstream, run):
    without_a_vector(upstream)
    upstream.upload()
    run.resolve(strategies=["concat", "max_pool"], models=list(Family))
    run.splits()


@pytest.fixture
def ready(upstream, made_once):
    without_a_vector(upstream)
    return made_once(splits)


def positions(upstream, rows):
    return [upstream.ids.index(video_id) for video_id in rows.data.rows["video_id"]]


def manifest(run, pair=PAIR):
    """The split manifest, in canonical order."""
    return run.frame(run.context.record(SplitRecord, keys.task_id("build_split", *pair)).key)


def test_features_labels_and_vectors_belong_to_the_same_videos(upstream, ready):
    rows = training_rows(ready.context, *PAIR, Family.CONCAT_MLP)
    order = positions(upstream, rows)
    assert sorted(order) == [row for row in range(24) if row != 4]
    np.testing.assert_array_equal(rows.inputs.fused, upstream.fused[PAIR[0]][order])
    metadata = upstream.metadata[upstream.metadata["horizon_days"] == 7].iloc[order]
    np.testing.assert_allclose(rows.target, np.log1p(metadata["horizon_view_count"]), rtol=1e-6)
    for name in ("channel_subscriber_count", "channel_country"):
        assert rows.inputs.metadata[name].tolist() == metadata[name].tolist()
    assert rows.inputs.metadata["has_hashtags"].tolist() == [
        {"True": 1.0, "yes": 1.0, "0": 0.0, "no": 0.0}[text] for text in metadata["has_hashtags"]
    ]
    assert rows.inputs.text_present.tolist() == upstream.present[order].tolist()


def test_parts_are_those_of_the_split_manifest_and_follow_each_other(upstream, ready):
    rows = training_rows(ready.context, *PAIR, Family.RIDGE)
    expected = manifest(ready)
    start = 0
    for name in ("train", "val", "test"):
        part = expected[expected["split"] == name]
        pd.testing.assert_frame_equal(rows.manifest_of(name).reset_index(drop=True), part.reset_index(drop=True))
        order = [upstream.ids.index(video_id) for video_id in part["video_id"]]
        np.testing.assert_array_equal(rows.inputs_of(name).fused, upstream.fused[PAIR[0]][order])
        np.testing.assert_array_equal(rows.target_of(name), part["target_log"].to_numpy(dtype="f4"))
        assert rows.data.rows["video_id"].tolist()[start : start + len(part)] == part["video_id"].tolist()
        start += len(part)
    assert start == len(rows.target) == 23


def test_parts_are_views(ready):
    rows = training_rows(ready.context, *PAIR, Family.RIDGE, Family.GATED_FUSION_MLP)
    for name in ("train", "val", "test"):
        inputs = rows.inputs_of(name)
        for whole, array in rows.vectors().items():
            assert np.shares_memory(getattr(inputs, whole), array)
        assert np.shares_memory(rows.target_of(name), rows.target)


def test_families_of_a_pair_share_one_reading(upstream, ready, monkeypatch):
    read, found = VectorTable.read, []

    def counted(table, columns, *arguments):
        found.append((keys.table_name(table.key), tuple(columns)))
        return read(table, columns, *arguments)

    monkeypatch.setattr(VectorTable, "read", counted)
    rows = training_rows(ready.context, *PAIR, *Family)
    assert found == [("fused_concat", ("vector",)), ("modalities", ("video", "audio", "text"))]
    for family in Family:
        alone = training_rows(ready.context, *PAIR, family)
        assert family_digests(rows, rows.digests(), family) == family_digests(alone, alone.digests(), family)
        for name, array in alone.vectors().items():
            np.testing.assert_array_equal(array, rows.vectors()[name])


def test_only_the_feature_columns_are_read(ready):
    data = training_rows(ready.context, *PAIR, Family.RIDGE).data
    assert data.features.columns.tolist() == [*data.spec.numeric_cols, *data.spec.categorical_cols]


def test_vectors_larger_than_the_limit_are_mapped_and_equal(ready):
    in_memory = training_rows(ready.context, *PAIR, *Family)
    settings = ready.settings.model_copy(update={"train_memory_mib": 0})
    mapped = training_rows(replace(ready.context, settings=settings), *PAIR, *Family)
    assert not any(isinstance(array, np.memmap) for array in in_memory.vectors().values())
    assert all(isinstance(array, np.memmap) for array in mapped.vectors().values())
    assert mapped.digests() == in_memory.digests()
    for name, array in in_memory.vectors().items():
        np.testing.assert_array_equal(mapped.vectors()[name], array)


@pytest.mark.parametrize("family", list(Family))
def test_a_family_gets_only_the_vectors_it_sees(upstream, ready, family):
    rows = training_rows(ready.context, *PAIR, family)
    seen = {name for name in ("fused", *map(str, Modality)) if getattr(rows.inputs, name) is not None}
    # Text, because models of v3 learn columns from it.
    assert seen == ({"video", "audio", "text"} if family in OF_MODALITIES else {"fused", "text"})
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
    assert sorted(order) == [row for row in range(24) if row not in (3, 4)]


def test_rows_lost_on_the_way_are_told_by_stage(ready):
    dropped = training_rows(ready.context, *PAIR, Family.RIDGE).data.dropped
    assert dropped == {
        "metadata": {"other_horizon": 24},
        "manifest": {},
        "fused_concat": {},
        "modalities": {"missing_object": 1},
        "split": {},
        "join": {"no_modality_vectors": 1},
    }


def test_family_that_does_not_see_the_fused_vectors_has_the_same_digests_for_every_strategy(ready):
    one, other = (
        training_rows(ready.context, strategy, Horizon.D7, *Family) for strategy in (Strategy.CONCAT, Strategy.MAX_POOL)
    )
    for family in Family:
        same = family_digests(one, one.digests(), family) == family_digests(other, other.digests(), family)
        assert same == (family in OF_MODALITIES)
    assert family_digests(one, one.digests(), Family.RIDGE) == family_digests(one, one.digests(), Family.GBDT)


def test_what_bringing_the_tables_up_to_date_cost_is_told(ready):
    assembly = training_rows(ready.context, *PAIR, Family.RIDGE).data.assembly
    assert set(assembly) == {"fused_concat", "modalities"}
    assert (assembly["fused_concat"]["objects"], assembly["modalities"]["quarantined"]) == (2, 1)


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


def test_video_of_the_split_without_metadata_is_told_and_not_made_up(ready, store):
    task = keys.task_id("filter_metadata", horizon=Horizon.D7)
    record = ready.context.record(MetadataRecord, task)
    sha256 = ready.context.put_bytes(record.key, parquet_bytes(ready.frame(record.key).tail(21)))
    changed = record.model_copy(update={"sha256": sha256})
    store.put(keys.run_record(ready.id, task), changed.model_dump_json().encode())
    with pytest.raises(
        DataError, match=r"expected the 23 videos of the split, got 20 of them, in s3://.*horizon=7.parq"
    ):
        training_rows(ready.context, *PAIR, Family.RIDGE)


def test_target_is_never_negative_or_missing(upstream, run):
    upstream.metadata.loc[0, "horizon_view_count"] = -3
    upstream.metadata.loc[1, "horizon_view_count"] = math.nan
    upstream.upload()
    run.resolve()
    run.splits()
    rows = training_rows(run.context, *PAIR, Family.RIDGE)
    ids = rows.data.rows["video_id"].tolist()
    assert rows.target[ids.index("vid000")] == 0.0
    assert "vid001" not in ids
