import hashlib
import io
import json
import os
import re
import signal

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import SplitRecord, Throughput
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import DEFAULT_FAMILIES, ENSEMBLE, Family, Horizon, Modality, Strategy
from clipfarm_tasks.steps import train as train_module
from clipfarm_tasks.steps.context import parquet_bytes
from clipfarm_tasks.steps.training_rows import training_rows
from tests.eventually import PATIENCE_S
from tests.warm_python import WarmPython

PAIR = (Strategy.CONCAT, Horizon.D7)
JOB = (*PAIR, Family.RIDGE)
METRICS = {"rmse_log", "mae_log", "r2_log", "rmse_raw", "mae_raw"}
DOCUMENTS = {
    "config_used.json", "data_summary.json", "metrics_summary.json", "slice_metrics_text_present.json",
    "slices.json", "importance.json",
    "split_manifest.parquet", "leaderboard.csv", "predictions/val.parquet", "predictions/test.parquet", "_SUCCESS",
}  # fmt: skip
OWN_FILES = {
    Family.CONCAT_MLP: {"models/concat_mlp.pt", "curves/concat_mlp_curve.json"},
    Family.GATED_FUSION_MLP: {"models/gated_fusion_mlp.pt", "curves/gated_fusion_mlp_curve.json"},
    Family.RIDGE: {"models/ridge.skops", "models/ridge.joblib"},
    Family.GBDT: {
        "models/gbdt.skops",
        "models/gbdt.joblib",
        "models/gbdt_projector.pt",
        "curves/gbdt_projector_curve.json",
    },
    Family.TABM: {"models/tabm.pt", "curves/tabm_curve.json"},
    Family.KERNEL: {"models/kernel.skops", "models/kernel.joblib"},
}
for name, own in OWN_FILES.items():
    own |= {f"models/{name}_text_neighbours.arrow", f"models/{name}_creator_history.arrow"}
CONFIG_USED = {
    "generated_at", "run_id", "git_sha", "fusion_strategy", "target_horizon_days", "model_family", "trained_models",
    "target_transform", "seed", "splits", "device", "rank_metric", "feature_set_version", "numeric_cols",
    "categorical_cols", "dropped_metadata_cols", "excluded_high_card", "excluded_leakage", "fused_manifest_s3_key",
    "hyperparams", "versions", "inputs", "table_versions", "table_ids", "training_data_sha256",
}  # fmt: skip
DATA_SUMMARY = {
    "n_total", "n_train", "n_val", "n_test", "split_ratios", "text_present_rate", "target_log_mean", "target_log_std",
    "target_raw_mean", "target_raw_p50", "target_raw_p90", "metadata_missing_rate", "numeric_feature_stats",
    "horizon_days", "horizon_definition", "leakage_columns_checked", "assembly", "unknown_columns",
    "unreadable_cells", "unreadable_examples", "unused_columns", "absent_columns",
}  # fmt: skip


def snapshot(run, family=Family.RIDGE, pair=PAIR):
    return run.files(keys.job_snapshot(run.id, family, *pair))


def reproducible(family):
    """Files that equal fits leave in equal bytes; skops writes addresses of memory, and its twin tells the same."""
    return {name for name in OWN_FILES[family] if not name.endswith(".skops")}


def assert_complete(files):
    """Exactly the files its marker names, and each of them as named."""
    marker = json.loads(files["_SUCCESS"])
    assert set(marker["files"]) == set(files) - {"_SUCCESS"}
    for name, entry in marker["files"].items():
        assert entry == {"size": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}


@pytest.mark.parametrize("family", DEFAULT_FAMILIES)
def test_snapshot_holds_exactly_the_files_readers_expect(finished, family):
    files = snapshot(finished, family)
    assert set(files) == DOCUMENTS | OWN_FILES[family]
    assert_complete(files)
    assert json.loads(files["_SUCCESS"])["digest"] == finished.record.digest


@pytest.mark.parametrize("family", DEFAULT_FAMILIES)
def test_documents_hold_every_field_readers_expect(finished, family):
    files = snapshot(finished, family)
    config = json.loads(files["config_used.json"])
    assert set(config) >= CONFIG_USED
    assert config["run_id"] == finished.id
    assert (config["model_family"], config["trained_models"]) == (family, [family])
    assert config["target_transform"] == "log1p(horizon_view_count)"
    assert config["fused_manifest_s3_key"] == keys.fused_manifest(PAIR[0])
    assert set(config["versions"]) == {"python", "numpy", "pandas", "scikit_learn", "torch"}
    assert config["table_versions"] == {"fused_concat": 1, "modalities": 1}
    assert set(config["training_data_sha256"]) == {family}
    for digest in ("features", "target"):
        assert re.fullmatch("[0-9a-f]{64}", config["training_data_sha256"][family][digest])
    summary = json.loads(files["data_summary.json"])
    assert set(summary) >= DATA_SUMMARY
    assert set(summary["assembly"]) == {"fused_concat", "modalities"}
    assert summary["assembly"]["fused_concat"].items() >= {"objects": 2, "cached": 0, "quarantined": 0}.items()
    assert set(summary["assembly"]["modalities"]) == set(Throughput.model_fields)
    assert summary["n_total"] == summary["n_train"] + summary["n_val"] + summary["n_test"] == 40
    metrics = json.loads(files["metrics_summary.json"])
    assert set(metrics) == {
        "generated_at", "run_id", "fusion_strategy", "target_horizon_days", "model_family", "trained_models",
        "target_transform", "rank_metric", "best_model", "models", "uncertainty", "cost",
    }  # fmt: skip
    assert metrics["best_model"] == family
    assert {part: set(values) for part, values in metrics["models"][family].items()} == {
        "val": METRICS,
        "test": METRICS,
    }
    slices = json.loads(files["slice_metrics_text_present.json"])[family]
    assert set(slices) == {"val", "test"}
    for part in slices.values():
        assert set(part) == {"text_present_1", "text_present_0"}
        assert all(set(metrics) == ({"n"} if metrics["n"] == 0 else METRICS | {"n"}) for metrics in part.values())
    for name in (name for name in files if name.startswith("curves/")):
        curve = json.loads(files[name])
        assert set(curve) == {"train_loss", "val_loss", "val_rmse_log"}
        assert len({len(values) for values in curve.values()}) == 1


@pytest.mark.parametrize("strategy", [Strategy.CONCAT, Strategy.MAX_POOL])
@pytest.mark.parametrize("family", DEFAULT_FAMILIES)
def test_importance_is_told_by_what_the_family_sees(finished, family, strategy):
    found = json.loads(snapshot(finished, family, (strategy, Horizon.D7))["importance.json"])
    apart = strategy is Strategy.CONCAT or family is Family.GATED_FUSION_MLP
    vectors = {"video", "audio", "text"} if apart else {"fused"}
    metadata = {"channel", "timing", "text_statistics", "channel_country", "creator_history"}
    learnt = set() if apart else {"text_neighbours"}
    assert {one["name"] for one in found["blocks"]} == vectors | metadata | learnt
    assert found["block_rows"] == 6
    # Trees split no node of fewer than 40 rows, and the train part has 28.
    assert any(one["mean"] != 0 for one in found["blocks"]) == (family is not Family.GBDT)


@pytest.mark.parametrize("family", DEFAULT_FAMILIES)
def test_columns_of_the_tables_are_those_readers_expect(finished, family):
    prefix = keys.job_snapshot(finished.id, family, *PAIR)
    split = finished.frame(f"{prefix}split_manifest.parquet")
    assert split.columns.tolist() == ["video_id", "split", "text_present", "target_log", "target_raw", "creator"]
    for part in ("val", "test"):
        predictions = finished.frame(f"{prefix}predictions/{part}.parquet")
        assert predictions.columns.tolist() == [
            "video_id", "text_present", "y_true_log", "y_true_raw", f"pred_{family}_log", f"pred_{family}_raw",
            f"pred_{family}_low", f"pred_{family}_high",
        ]  # fmt: skip
        assert predictions["video_id"].tolist() == split.loc[split["split"] == part, "video_id"].tolist()
        assert predictions["y_true_log"].tolist() == split.loc[split["split"] == part, "target_log"].tolist()


def test_record_tells_the_snapshot(finished):
    record = json.loads(finished.store.get(keys.run_record(finished.id, "concat_7d.train_ridge")))
    files = snapshot(finished)
    metrics = json.loads(files["metrics_summary.json"])
    assert record["snapshot_key"] == keys.job_snapshot(finished.id, Family.RIDGE, *PAIR)
    assert record["success_sha256"] == hashlib.sha256(files["_SUCCESS"]).hexdigest()
    assert record["rank_value"] == metrics["models"]["ridge"]["val"]["r2_log"]
    assert (record["best_model"], record["rank_metric"], record["reused"]) == ("ridge", "val_r2_log", False)


def test_a_feature_that_was_asked_for_by_name_trains_and_is_told(upstream, run):
    upstream.metadata = upstream.metadata.assign(digg_count=range(len(upstream.metadata)), saves=1)
    upstream.upload()
    run.resolve(extra_features=["digg_count"])
    run.jobs()
    files = snapshot(run)
    assert "digg_count" in json.loads(files["config_used.json"])["numeric_cols"]
    summary = json.loads(files["data_summary.json"])
    assert summary["unknown_columns"] == {
        "digg_count": {"became": "numeric feature", "why": "extra_features names it"},
        "saves": {"became": "excluded", "why": "its name speaks of the audience's response"},
    }
    assert {"saves", "view_count", "horizon_days"} <= set(summary["leakage_columns_checked"])
    assert "digg_count" not in summary["leakage_columns_checked"]


def test_a_part_of_one_row_has_no_r2_and_is_ranked_all_the_same(upstream, run):
    upstream.upload()
    run.resolve(train_ratio=0.9, val_ratio=0.05, test_ratio=0.05, rank_metric="val_r2_log")
    record = run.jobs()[JOB]
    metrics = json.loads(snapshot(run)["metrics_summary.json"])["models"]["ridge"]
    assert (metrics["val"]["r2_log"], record.rank_value, record.best_model) == (None, None, "ridge")
    run.step("publish_snapshot", *PAIR)
    run.step("leaderboard")
    comparison = run.json(f"{keys.comparison(run.id)}metrics_comparison.json")
    assert (comparison["rows"][0]["val_r2_log"], comparison["rows"][0]["status"]) == (None, "ok")
    assert comparison["best_by_rank_metric"]["7"] is None


def test_finished_job_is_reused_and_nothing_is_written(upstream, run, store, monkeypatch):
    upstream.upload()
    run.resolve()
    first = run.jobs()[JOB]
    before = {info.key: info.etag for info in store.list("clipfarm/")}
    monkeypatch.setattr(train_module, "create", None)  # whoever fits again fails
    again = run.step("train", *JOB)
    assert again == first.model_copy(update={"reused": True})
    after = {info.key: info.etag for info in store.list("clipfarm/")}
    record = keys.run_record(run.id, "concat_7d.train_ridge")
    assert {key for key in before | after if before.get(key) != after.get(key)} == {record}


def test_snapshot_of_another_config_is_never_overwritten(upstream, run, store):
    upstream.upload()
    run.resolve()
    run.splits()
    key = keys.job_snapshot(run.id, Family.RIDGE, *PAIR) + keys.SUCCESS
    body = json.dumps({"digest": "0" * 64, "attempt": "x", "files": {}}).encode()
    store.put(key, body)
    with pytest.raises(DataError, match=r"got 0{64}, in s3://.*a finished snapshot is never overwritten"):
        run.step("train", *JOB)
    assert snapshot(run) == {keys.SUCCESS: body}


def test_two_runs_with_the_same_inputs_and_seed_are_identical(upstream, run):
    upstream.upload()
    found = []
    for run_id in ("one", "two"):
        run.resolve(run_id, models=DEFAULT_FAMILIES)
        run.jobs()
        found.append({family: snapshot(run, family) for family in DEFAULT_FAMILIES})
    one, two = found
    for family in DEFAULT_FAMILIES:
        assert json.loads(one[family]["metrics_summary.json"])["run_id"] == "one"
        metrics = [json.loads(files[family]["metrics_summary.json"])["models"] for files in found]
        assert metrics[0] == metrics[1]
        for name in (
            "predictions/val.parquet",
            "predictions/test.parquet",
            "split_manifest.parquet",
            "leaderboard.csv",
        ):
            assert one[family][name] == two[family][name]
        for name in reproducible(family):
            if name.startswith("curves/"):
                assert one[family][name] == two[family][name]


@pytest.mark.parametrize("family", DEFAULT_FAMILIES)
def test_mapped_vectors_give_the_same_model(upstream, run, family):
    upstream.upload()
    found = []
    for run_id, limit in (("memory", 1024), ("disk", 0)):
        run.settings = run.settings.model_copy(update={"train_memory_mib": limit})
        run.resolve(run_id, models=[family])
        run.jobs()
        found.append(snapshot(run, family))
    memory, disk = found
    for name in reproducible(family) | {"predictions/val.parquet", "predictions/test.parquet"}:
        assert memory[name] == disk[name], name
    digests = [json.loads(files["config_used.json"])["training_data_sha256"] for files in found]
    assert digests[0] == digests[1]


def test_split_manifest_is_published_in_canonical_order_as_it_was_made(finished):
    record = finished.context.record(SplitRecord, keys.task_id("build_split", *PAIR))
    published = snapshot(finished)["split_manifest.parquet"]
    assert published == finished.store.get(record.key)
    ids = pd.read_parquet(io.BytesIO(published))["video_id"].tolist()
    assert ids == sorted(ids)


def poison_test_targets(run):
    """As if build_split had found other views for the videos of the test part."""
    task = keys.task_id("build_split", *PAIR)
    record = run.context.record(SplitRecord, task)
    frame = run.frame(record.key)
    held_out = frame["split"] == "test"
    frame.loc[held_out, "target_log"] += 5.0
    frame.loc[held_out, "target_raw"] = np.expm1(frame.loc[held_out, "target_log"])
    changed = record.model_copy(update={"sha256": run.context.put_bytes(record.key, parquet_bytes(frame))})
    run.store.put(keys.run_record(run.id, task), changed.model_dump_json().encode())


def test_no_fit_sees_the_test_part(upstream, run):
    """Neither the weights nor the epoch it stops at: other test labels change the test metrics and nothing else."""
    upstream.upload()
    found = []
    for run_id in ("clean", "poisoned"):
        run.resolve(run_id, models=DEFAULT_FAMILIES, max_epochs=3)
        run.splits()
        if run_id == "poisoned":
            poison_test_targets(run)
        for family in DEFAULT_FAMILIES:
            run.step("train", *PAIR, family)
        found.append({family: snapshot(run, family) for family in DEFAULT_FAMILIES})
    clean, poisoned = found
    for family in DEFAULT_FAMILIES:
        for name in reproducible(family) | {"predictions/val.parquet"}:
            assert clean[family][name] == poisoned[family][name], name
        fits = [json.loads(files[family]["config_used.json"])["hyperparams"] for files in found]
        assert fits[0] == fits[1]
        metrics = [json.loads(files[family]["metrics_summary.json"])["models"][family] for files in found]
        assert metrics[0]["val"] == metrics[1]["val"]
        assert metrics[0]["test"] != metrics[1]["test"]


def test_another_seed_changes_the_result(upstream, run):
    upstream.upload()
    found = []
    for seed in (1, 2):
        run.resolve(seed=seed)
        run.jobs()
        found.append(snapshot(run)["predictions/test.parquet"])
    assert found[0] != found[1]


class CountedFits:
    """Stands in for `create` and counts the fits by family."""

    def __init__(self, create):
        self.create = create
        self.fits = []

    def __call__(self, family, *how):
        model = self.create(family, *how)
        fit = model.fit

        def counted(*arguments):
            self.fits.append(family)
            return fit(*arguments)

        model.fit = counted
        return model


@pytest.fixture
def fits(monkeypatch):
    counter = CountedFits(train_module.create)
    monkeypatch.setattr(train_module, "create", counter)
    return counter.fits


def test_gated_family_is_fitted_once_for_all_strategies(upstream, run, fits):
    upstream.upload()
    run.resolve(strategies=list(Strategy), models=["gated_fusion_mlp", "ridge"])
    run.jobs()
    assert sorted(fits) == ["gated_fusion_mlp", "ridge", "ridge", "ridge"]
    found = [snapshot(run, Family.GATED_FUSION_MLP, (strategy, Horizon.D7)) for strategy in Strategy]
    for name in ("models/gated_fusion_mlp.pt", "predictions/test.parquet", "curves/gated_fusion_mlp_curve.json"):
        assert len({files[name] for files in found}) == 1
    for strategy, files in zip(Strategy, found, strict=True):
        assert_complete(files)
        assert json.loads(files["metrics_summary.json"])["fusion_strategy"] == strategy


def test_families_that_are_off_by_default_are_trained_and_blended_where_they_are_asked_for(upstream, run, fits):
    upstream.upload()
    members = ["ridge", "tabm", "kernel"]
    run.resolve(strategies=["concat", "max_pool"], models=members, max_epochs=2)
    run.jobs()
    assert sorted(fits) == ["kernel", "ridge", "ridge", "tabm", "tabm"]
    shared = [snapshot(run, Family.KERNEL, (strategy, Horizon.D7)) for strategy in ("concat", "max_pool")]
    assert len({files["models/kernel.skops"] for files in shared}) == 1
    for family in (Family.TABM, Family.KERNEL):
        files = snapshot(run, family)
        assert set(files) == DOCUMENTS | OWN_FILES[family]
        assert_complete(files)
    run.step(ENSEMBLE, *PAIR)
    blended = snapshot(run, ENSEMBLE)
    assert list(json.loads(blended["models/ensemble.json"])["weights"]) == members
    assert set(blended) > {"models/tabm.pt", "models/kernel.skops", "models/ridge.skops"}


def test_gated_family_is_fitted_again_for_other_rows(upstream, run, fits):
    upstream.manifests[Strategy.MAX_POOL] = upstream.manifests[Strategy.MAX_POOL].tail(20)
    upstream.upload()
    run.resolve(strategies=["concat", "max_pool"], models=["gated_fusion_mlp"])
    run.jobs()
    assert fits == ["gated_fusion_mlp"] * 2


def test_no_text_at_all(upstream, run):
    upstream.npy = {key: value for key, value in upstream.npy.items() if f"/{Modality.TEXT}/" not in key}
    upstream.upload()
    run.resolve(models=DEFAULT_FAMILIES, max_text_loss=1)
    run.jobs()
    for family in DEFAULT_FAMILIES:
        slices = json.loads(snapshot(run, family)["slice_metrics_text_present.json"])
        assert slices[family]["test"]["text_present_1"] == {"n": 0}
        assert slices[family]["test"]["text_present_0"]["n"] == 5


# Run as `python -c SCRIPT ARGUMENTS`: the command line with a trap set in it.
DIE_AT = """
import os, signal, sys
from clipfarm_tasks import storage
from clipfarm_tasks.storage import snapshot
from clipfarm_tasks.cli.app import main
moment = sys.argv.pop(1)
create, copy = storage.Store.create, storage.Store.copy

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def create_but_no_marker(self, key, body):
    return die() if key.endswith("_SUCCESS") else create(self, key, body)

def copy_some(self, source, target):
    copy(self, source, target)
    if target.endswith("leaderboard.csv"):
        die()

if moment == "before the commit":
    storage.Store.create = die
elif moment == "before the first copy":
    snapshot._roll_forward = die
elif moment == "between two copies":
    storage.Store.copy = copy_some
elif moment == "before the marker":
    storage.Store.create = create_but_no_marker
main()
"""
RACE = """
import pathlib, sys, time
from clipfarm_tasks.steps import train
from clipfarm_tasks.cli.app import main
ready = pathlib.Path(sys.argv.pop(1))
me = sys.argv.pop(1)
publish = train.publish
def together(*arguments):
    (ready / me).touch()
    deadline = time.monotonic() + 600
    while len(list(ready.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    return publish(*arguments)
train.publish = together
main()
"""


def splits(upstream, run):
    upstream.upload()
    run.resolve()
    run.splits()


@pytest.fixture
def prepared(made_once, s3_server, repository):
    """(run, start): everything before the training is done; ``start`` runs `step train` in a process of its own."""
    run = made_once(splits)
    environment = (
        os.environ
        | s3_server.environment()
        | {
            "CLIPFARM_BUCKET": run.settings.bucket,
            "PYTHONPATH": str(repository),
        }
    )
    command = ["step", "train", "--run-id", run.id, "--strategy", "concat", "--horizon", "7", "--model", "ridge"]

    def start(script, *arguments):
        return WarmPython(["-c", script, *arguments, *command], environment, repository)

    return run, start


@pytest.mark.parametrize(
    "moment", ["before the commit", "before the first copy", "between two copies", "before the marker"]
)
def test_job_killed_between_upload_and_success_is_finished_by_a_retry(prepared, store, moment):
    run, start = prepared
    killed = start(DIE_AT, moment)
    _, errors = killed.communicate(timeout=PATIENCE_S)
    assert killed.returncode == -signal.SIGKILL, errors
    assert keys.SUCCESS not in snapshot(run)
    assert store.list(keys.staging_area(keys.job_snapshot(run.id, Family.RIDGE, *PAIR), run.id)) != []
    record = run.step("train", *JOB)
    assert record.reused == (moment != "before the commit")
    files = snapshot(run)
    assert set(files) == DOCUMENTS | OWN_FILES[Family.RIDGE]
    assert_complete(files)
    assert record.success_sha256 == hashlib.sha256(files["_SUCCESS"]).hexdigest()
    assert store.list(keys.staging_area(keys.job_snapshot(run.id, Family.RIDGE, *PAIR), run.id)) == []


def test_two_workers_at_once_leave_one_complete_snapshot(prepared, tmp_path):
    run, start = prepared
    workers = [start(RACE, str(tmp_path), name) for name in ("a", "b")]
    answers = [worker.communicate(timeout=PATIENCE_S) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], answers
    assert len(list(tmp_path.iterdir())) == 2  # both had fitted before either published
    files = snapshot(run)
    assert set(files) == DOCUMENTS | OWN_FILES[Family.RIDGE]
    assert_complete(files)
    published = {json.loads(out)["success_sha256"] for out, _ in answers}
    assert published == {hashlib.sha256(files["_SUCCESS"]).hexdigest()}


@pytest.mark.parametrize("family", DEFAULT_FAMILIES)
def test_the_required_columns_alone_are_enough(upstream, run, family):
    upstream.metadata = upstream.metadata[["video_id", "horizon_days", "horizon_view_count"]]
    upstream.upload()
    run.resolve(models=[family], max_epochs=1)
    run.jobs()
    config = json.loads(snapshot(run, family)["config_used.json"])
    assert (config["numeric_cols"], config["categorical_cols"]) == ([], [])


def test_a_refit_changes_the_saved_model_and_no_number_of_val(upstream, run):
    upstream.upload()
    found = {}
    for refit in (True, False):
        run.resolve(f"refit-{refit}", models=["ridge"], refit=refit)
        run.splits()
        run.step("train", *PAIR, Family.RIDGE)
        found[refit] = run.files(keys.job_snapshot(run.id, Family.RIDGE, *PAIR))
    assert found[True]["predictions/val.parquet"] == found[False]["predictions/val.parquet"]
    assert found[True]["predictions/test.parquet"] != found[False]["predictions/test.parquet"]
    assert found[True]["models/ridge.skops"] != found[False]["models/ridge.skops"]
    saved = {refit: json.loads(files["config_used.json"])["hyperparams"]["ridge"] for refit, files in found.items()}
    assert saved[True]["saved_model"]["learnt_from"] == "train and val"
    assert saved[True]["saved_model"]["rows"] > saved[False]["saved_model"]["rows"]
    assert saved[False]["saved_model"]["learnt_from"] == "train"
    assert saved[True]["alpha"] == saved[False]["alpha"]


def test_a_chronological_refit_learns_no_label_that_its_embargo_forbids(upstream, run):
    days = 1 + np.arange(len(upstream.metadata)) % 27
    upstream.metadata["captured_at"] = [f"2026-03-{day:02d}T10:00:00+00:00" for day in days]
    upstream.upload()
    run.resolve(models=["ridge"], split_strategy="chronological", embargo_days=2)
    run.splits()
    rows = training_rows(run.context, *PAIR, Family.RIDGE)
    labels = run.frame(keys.filtered_metadata(run.id, PAIR[1])).set_index("video_id")["captured_at"]
    captured_at = pd.to_datetime(labels[rows.data.rows["video_id"]]).to_numpy()
    split = rows.data.rows["split"].to_numpy()
    known = captured_at <= captured_at[split == "test"].min() - np.timedelta64(2, "D")
    expected = int((known & (split != "test")).sum())
    assert int((split == "train").sum()) <= expected < int((split != "test").sum())
    run.step("train", *PAIR, Family.RIDGE)
    files = run.files(keys.job_snapshot(run.id, Family.RIDGE, *PAIR))
    assert json.loads(files["config_used.json"])["hyperparams"]["ridge"]["saved_model"]["rows"] == expected
