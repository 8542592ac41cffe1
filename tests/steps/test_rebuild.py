"""A finished run is rebuilt from what it pinned, whatever happened since; what is not the same any more is told."""

import errno
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import SplitRecord
from clipfarm_tasks.data import columns
from clipfarm_tasks.errors import ConfigError, DataError, MissingObjectError
from clipfarm_tasks.families import Family, Horizon, Modality, Strategy
from clipfarm_tasks.steps import train as train_module
from clipfarm_tasks.steps.context import parquet_bytes
from clipfarm_tasks.steps.rebuild import Rebuilt, Verdict, rebuild
from clipfarm_tasks.storage.success_marker import FileEntry
from clipfarm_tasks.vectors.maintenance import maintain_table
from clipfarm_tasks.vectors.pinned_versions import pinned_versions
from clipfarm_tasks.vectors.table import VectorTable

PAIR = (Strategy.CONCAT, Horizon.D7)
MODELS = [Family.GATED_FUSION_MLP, Family.RIDGE]


def verdicts(run, **options):
    results = rebuild(run.store, run.settings, run.id, **options)
    return {(result.strategy, result.horizon, result.family): result.verdict for result in results}


def jobs(upstream, run):
    upstream.upload()
    run.resolve(models=MODELS)
    run.jobs()


@pytest.fixture
def trained(made_once):
    """One pair, a family that sees the fused vectors and one that sees the modalities."""
    return made_once(jobs)


def only(run, **options):
    """The results of the one pair, by family."""
    return {result.family: result for result in rebuild(run.store, run.settings, run.id, **options)}


def test_every_job_of_a_finished_run_is_equal(finished):
    found = verdicts(finished)
    assert set(found.values()) == {Verdict.EQUAL}
    assert list(found) == [(*pair, family) for pair in finished.pairs() for family in finished.record.models]


def test_filters_choose_the_jobs(finished):
    chosen = verdicts(finished, strategy=Strategy.MAX_POOL, horizon=Horizon.D30, family=Family.GBDT)
    assert chosen == {(Strategy.MAX_POOL, Horizon.D30, Family.GBDT): Verdict.EQUAL}
    assert len(verdicts(finished, horizon=Horizon.D7)) == 8
    assert len(verdicts(finished, family=Family.RIDGE)) == 4


def test_selection_the_run_does_not_request_is_refused(finished):
    with pytest.raises(ConfigError, match="expected one of concat, max_pool, which run run-1 requests, got sum_pool"):
        rebuild(finished.store, finished.settings, finished.id, strategy=Strategy.SUM_POOL)


def test_unknown_run_is_refused(finished):
    with pytest.raises(MissingObjectError, match="expected a resolved run 'nobody'"):
        rebuild(finished.store, finished.settings, "nobody")


def test_vectors_of_a_pair_are_read_once_for_all_its_families(finished, monkeypatch):
    read, found = VectorTable.read, []

    def counted(table, *arguments):
        found.append(keys.table_name(table.key))
        return read(table, *arguments)

    monkeypatch.setattr(VectorTable, "read", counted)
    rebuild(finished.store, finished.settings, finished.id)
    assert sorted(found) == ["fused_concat"] * 2 + ["fused_max_pool"] * 2 + ["modalities"] * 4


def test_mapped_vectors_are_equal_to_those_trained_on_in_memory(finished):
    settings = finished.settings.model_copy(update={"train_memory_mib": 0})
    assert {result.verdict for result in rebuild(finished.store, settings, finished.id)} == {Verdict.EQUAL}


@pytest.fixture
def moved_on(upstream, trained, store):
    """The trained run's id; since then upstream changed everything, and a second run, ``run-2``, was trained on it."""
    first = trained.id
    newer = keys.fused_shard(PAIR[0], "2026-03-03", 0)
    fused = upstream.fused[PAIR[0]][3:4] + 1
    upstream.shards[newer] = {
        "video_ids": np.array([upstream.ids[3]]),
        "vectors": fused,
        "captured_at": np.array(["x"]),
    }
    upstream.manifests[PAIR[0]].loc[3, ["fused_key", "shard_idx"]] = [newer, 0]
    upstream.metadata["horizon_view_count"] += 100
    upstream.metadata["channel_country"] = "DE"
    gone = upstream.key(Modality.AUDIO, 5)
    del upstream.npy[gone]
    store.delete([gone])
    for modality in Modality:
        upstream.npy[upstream.key(modality, 3)] = upstream.vectors[modality][3] + 1
    upstream.upload()
    before = trained.context.record(SplitRecord, keys.task_id("build_split", *PAIR)).tables
    trained.resolve("run-2", models=MODELS)
    trained.jobs()
    after = trained.context.record(SplitRecord, keys.task_id("build_split", *PAIR)).tables
    assert all(after[table] > before[table] for table in after)
    return first


def test_still_equal_after_upstream_changed_and_another_run_moved_the_tables_on(moved_on, trained, store):
    digests = []
    for run_id in (moved_on, "run-2"):
        assert {result.verdict for result in rebuild(store, trained.settings, run_id)} == {Verdict.EQUAL}
        config = trained.json(f"{keys.job_snapshot(run_id, Family.RIDGE, *PAIR)}config_used.json")
        digests.append(config["training_data_sha256"]["ridge"])
    assert digests[0]["features"] != digests[1]["features"]
    assert digests[0]["target"] != digests[1]["target"]


def test_still_equal_after_the_tables_were_compacted_and_cleaned(moved_on, trained, store):
    pins = pinned_versions(store).by_table
    for key in (keys.fused_table(PAIR[0]), keys.modalities_table()):
        table = VectorTable(store, key)
        table.merge(table.open(None).to_table())  # a version that is superseded and that nobody pins
        table.merge(table.open(None).to_table())
        done = maintain_table(table, pins[keys.table_name(key)], datetime.now(UTC) + timedelta(days=1))
        assert done.versions_dropped > 0
    for run_id in (moved_on, "run-2"):
        assert {result.verdict for result in rebuild(store, trained.settings, run_id)} == {Verdict.EQUAL}


def test_code_that_did_not_resolve_the_run_may_rebuild_it(trained, store):
    key = keys.run_config(trained.id)
    config = trained.json(key)
    config["code"]["source_sha256"] = "0" * 64
    store.put(key, json.dumps(config).encode())
    with pytest.raises(ConfigError, match="expected the code that resolved run"):
        trained.step("build_split", *PAIR)
    assert set(verdicts(trained).values()) == {Verdict.EQUAL}


def test_rules_on_leakage_that_came_later_stop_trainings_but_no_rebuild(trained, store, monkeypatch):
    monkeypatch.setitem(columns._BY_WORDS, ("channel", "subscriber", "count"), columns.Kind.LEAKAGE)
    assert set(verdicts(trained).values()) == {Verdict.EQUAL}
    store.delete(info.key for info in store.list(keys.run_prefix(trained.id)) if "/commits/" in info.key)
    store.delete(info.key for info in store.list(keys.snapshots_prefix(trained.id)))
    with pytest.raises(DataError, match="expected no feature that tells the label, got channel_subscriber_count, in "):
        trained.step("train", *PAIR, Family.RIDGE)
    assert set(verdicts(trained).values()) == {Verdict.NO_SNAPSHOT}


@pytest.mark.parametrize("assembly", [None, {"modalities": {"objects": 3, "parsecs": 0.5}}])
def test_record_of_a_release_that_told_other_figures_is_rebuilt(trained, store, assembly):
    task = keys.run_record(trained.id, keys.task_id("build_split", *PAIR))
    record = trained.json(task) | {"assembly": assembly, "told_by_then": [1]}
    store.put(task, json.dumps({name: value for name, value in record.items() if value is not None}).encode())
    assert set(verdicts(trained).values()) == {Verdict.EQUAL}


def test_snapshot_that_recorded_no_digests_is_told(trained, store):
    prefix = keys.job_snapshot(trained.id, Family.RIDGE, *PAIR)
    config, marker = (trained.json(f"{prefix}{file}") for file in ("config_used.json", "_SUCCESS"))
    del config["training_data_sha256"]
    body = json.dumps(config).encode()
    marker["files"]["config_used.json"] = FileEntry.of(body).model_dump()
    store.put(f"{prefix}config_used.json", body)
    store.put(f"{prefix}_SUCCESS", json.dumps(marker).encode())
    found = only(trained)[Family.RIDGE]
    assert found.verdict is Verdict.IMPOSSIBLE
    uri = store.uri(f"{prefix}config_used.json")
    assert found.detail == f"expected recorded digests of the training data of ridge, got none, in {uri}"


def test_filtered_metadata_that_was_altered_cannot_be_rebuilt(trained, store):
    key = keys.filtered_metadata(trained.id, Horizon.D7)
    frame = trained.frame(key)
    frame["channel_subscriber_count"] += 1
    store.put(key, frame.to_parquet(index=False))
    for result in only(trained).values():
        assert result.verdict is Verdict.IMPOSSIBLE
        assert "expected sha256" in result.detail
        assert f"in s3://{store.bucket}/{key}" in result.detail


def test_altered_metadata_and_its_record_are_told_as_different(trained, store):
    """Whoever rewrites the records too: the digests in the snapshots do not follow."""
    key, task = keys.filtered_metadata(trained.id, Horizon.D7), keys.run_record(trained.id, "filter_metadata_7d")
    frame = trained.frame(key)
    frame["channel_subscriber_count"] += 1
    record = trained.json(task) | {"sha256": trained.context.put_bytes(key, parquet_bytes(frame))}
    store.put(task, json.dumps(record).encode())
    assert set(verdicts(trained).values()) == {Verdict.FEATURES_DIFFER}


@pytest.mark.parametrize(
    ("column", "verdict"), [("target_log", Verdict.TARGET_DIFFERS), ("text_present", Verdict.FEATURES_DIFFER)]
)
def test_altered_split_is_told_by_what_differs(trained, store, column, verdict):
    alter_split(trained, store, [column])
    assert set(verdicts(trained).values()) == {verdict}


def test_altered_split_may_differ_in_both(trained, store):
    alter_split(trained, store, ["target_log", "text_present"])
    assert set(verdicts(trained).values()) == {Verdict.BOTH_DIFFER}


def alter_split(run, store, columns):
    task = keys.run_record(run.id, keys.task_id("build_split", *PAIR))
    record = run.json(task)
    frame = run.frame(record["key"])
    for column in columns:
        frame[column] = 1 - frame[column]
    sha256 = run.context.put_bytes(record["key"], parquet_bytes(frame))
    store.put(task, json.dumps(record | {"sha256": sha256}).encode())


def test_other_vectors_are_told_for_the_families_that_see_them(upstream, trained, store):
    """A record that names another version of one table: the other families are not concerned."""
    upstream.npy[upstream.key(Modality.AUDIO, 3)] = upstream.vectors[Modality.AUDIO][3] + 1
    upstream.upload()
    store.delete([keys.run_record(trained.id, "reconstruct_modalities")])  # as if the run had settled no version
    version = trained.step("reconstruct_modalities").version
    task = keys.run_record(trained.id, keys.task_id("build_split", *PAIR))
    record = trained.json(task)
    assert version > record["tables"]["modalities"]
    record["tables"]["modalities"] = version
    store.put(task, json.dumps(record).encode())
    found = only(trained)
    assert found[Family.GATED_FUSION_MLP].verdict is Verdict.FEATURES_DIFFER
    assert found[Family.RIDGE].verdict is Verdict.EQUAL


def test_version_that_was_dropped_is_told_and_hides_no_other_pair(upstream, run, store):
    upstream.upload()
    run.resolve(strategies=["concat", "max_pool"])
    run.jobs()
    table = VectorTable(store, keys.fused_table(Strategy.CONCAT))
    pinned = run.context.record(SplitRecord, keys.task_id("build_split", *PAIR)).tables["fused_concat"]
    drop_versions_but_the_newest(table)
    results = {result.strategy: result for result in rebuild(store, run.settings, run.id)}
    assert results[Strategy.MAX_POOL] == Rebuilt(Strategy.MAX_POOL, Horizon.D7, Family.RIDGE, Verdict.EQUAL)
    assert results[Strategy.CONCAT].verdict is Verdict.IMPOSSIBLE
    assert (
        results[Strategy.CONCAT].detail
        == f"expected vector table {table.uri} at version {pinned}, got none: start a new run"
    )


def drop_versions_but_the_newest(table):
    """What an administrator may do by hand; `maintain` keeps pinned versions."""
    dataset = table.open(None)
    dataset.delete("true")
    dataset.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
    assert len(dataset.versions()) == 1


def test_job_that_was_never_trained_is_told(upstream, run):
    upstream.upload()
    run.resolve(models=MODELS)
    run.splits()
    run.step("train", *PAIR, Family.RIDGE)
    found = only(run)
    assert found[Family.RIDGE].verdict is Verdict.EQUAL
    assert found[Family.GATED_FUSION_MLP].verdict is Verdict.NO_SNAPSHOT


def test_run_that_was_only_resolved_has_no_snapshots(upstream, run):
    upstream.upload()
    run.resolve(models=MODELS)
    assert set(verdicts(run).values()) == {Verdict.NO_SNAPSHOT}


@pytest.mark.parametrize("file", ["config_used.json", "_SUCCESS"])
def test_damaged_snapshot_is_told_and_hides_no_other(trained, store, file):
    key = f"{keys.job_snapshot(trained.id, Family.RIDGE, *PAIR)}{file}"
    store.put(key, store.get(key)[:-9])
    found = only(trained)
    assert found[Family.RIDGE].verdict is Verdict.IMPOSSIBLE
    assert f"s3://{store.bucket}/{key}" in found[Family.RIDGE].detail
    assert found[Family.GATED_FUSION_MLP].verdict is Verdict.EQUAL


def test_written_matrices_are_what_the_jobs_were_given(upstream, run, monkeypatch, tmp_path):
    upstream.upload()
    run.resolve(models=["ridge"])
    run.splits()
    given = {}
    create = train_module.create

    def spy(*asked):
        model = create(*asked)
        fit = model.fit

        def keep(*arguments):
            given["train"], given["val"] = arguments[:2], arguments[2:4]
            return fit(*arguments)

        model.fit = keep
        return model

    monkeypatch.setattr(train_module, "create", spy)
    run.step("train", *PAIR, Family.RIDGE)
    assert set(verdicts(run, output=tmp_path / "new" / "folder").values()) == {Verdict.EQUAL}
    folder = tmp_path / "new" / "folder" / "concat_7d"
    frames, arrays = ("split", "metadata", "provenance"), ("text_present", "target", "fused", "text")
    names = {*(f"{name}.parquet" for name in frames), *(f"{name}.npy" for name in arrays)}
    assert {path.name for path in folder.iterdir()} == names
    split, metadata, provenance = (pd.read_parquet(folder / f"{name}.parquet") for name in frames)
    arrays = {name: np.load(folder / f"{name}.npy") for name in arrays}
    for part, (inputs, target) in given.items():
        rows = (split["split"] == part).to_numpy()
        np.testing.assert_array_equal(arrays["target"][rows], target)
        np.testing.assert_array_equal(arrays["fused"][rows], inputs.fused)
        np.testing.assert_array_equal(arrays["text"][rows], inputs.text)
        pd.testing.assert_frame_equal(provenance[rows].reset_index(drop=True), inputs.provenance, check_dtype=False)
        np.testing.assert_array_equal(arrays["text_present"][rows], inputs.text_present)
        pd.testing.assert_frame_equal(metadata[rows].reset_index(drop=True), inputs.metadata.reset_index(drop=True))


def test_matrices_of_all_pairs_stand_side_by_side(finished, tmp_path):
    rebuild(finished.store, finished.settings, finished.id, output=tmp_path)  # an empty folder is as good as a new one
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "concat_30d",
        "concat_7d",
        "max_pool_30d",
        "max_pool_7d",
    ]
    for name in ("fused", "video", "audio", "text"):
        assert np.load(tmp_path / "max_pool_7d" / f"{name}.npy").shape[0] == 40


@pytest.mark.parametrize("is_file", [True, False])
def test_folder_with_content_is_never_written_to(finished, tmp_path, is_file):
    standing = Path(tmp_path / "mine")
    standing.write_text("precious")
    with pytest.raises(ConfigError, match=rf"expected a new or empty folder for the matrices, got {tmp_path}"):
        rebuild(finished.store, finished.settings, finished.id, output=standing if is_file else tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert standing.read_text() == "precious"


@pytest.mark.parametrize("below", ["below", "below/and/deeper", "/proc/below"])
def test_folder_that_cannot_be_made_is_told_before_anything_is_read(finished, tmp_path, monkeypatch, below):
    (tmp_path / "file").write_text("precious")
    monkeypatch.setattr(VectorTable, "read", None)
    folder = tmp_path / "file" / below
    with pytest.raises(ConfigError, match=rf"expected a new or empty folder for the matrices, got {folder}: .*Errno"):
        rebuild(finished.store, finished.settings, finished.id, output=folder)


def test_folder_that_cannot_be_written_to_is_told_before_anything_is_read(finished, monkeypatch):
    empty = Path(f"/proc/{os.getpid()}")  # not even root may make a file here
    monkeypatch.setattr(VectorTable, "read", None)
    monkeypatch.setattr(Path, "iterdir", lambda _: iter(()))  # so it is taken for empty
    with pytest.raises(ConfigError, match=rf"expected a new or empty folder for the matrices, got {empty}: .*Errno"):
        rebuild(finished.store, finished.settings, finished.id, output=empty)


def test_disk_that_is_full_is_told(finished, tmp_path, monkeypatch):
    def full(file, *_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(ConfigError, match=rf"expected room for the matrices, got none in {tmp_path}/.*No space left"):
        rebuild(finished.store, finished.settings, finished.id, output=tmp_path)
