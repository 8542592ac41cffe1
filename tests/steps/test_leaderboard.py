import csv
import hashlib
import io
import json
import re

import numpy as np
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.evaluation.reports import Documents
from clipfarm_tasks.families import DEFAULT_FAMILIES, ENSEMBLE, Baseline, Family, Horizon, Strategy
from clipfarm_tasks.steps.context import parquet_bytes

METRICS = ["rmse_log", "mae_log", "r2_log", "rmse_raw", "mae_raw"]
COLUMNS = [
    "model_family", "fusion_strategy", "target_horizon_days", "model",
    *(f"val_{name}" for name in METRICS), *(f"test_{name}" for name in METRICS), "metrics_key", "status",
    "n_val", "n_test", *(f"common_{part}_{name}" for part in ("val", "test") for name in METRICS),
    "skill", "difference_p", "against_best", "common_test_spearman", "common_test_rmse_log_low",
    "common_test_rmse_log_high", "common_skill_low", "common_skill_high", "common_difference_low",
    "common_difference_high", "fit_seconds", "fit_cpu_seconds", "process_peak_mib", "ms_per_1000_predictions",
    "model_bytes", "pareto",
]  # fmt: skip
DOCUMENT = {
    "worst_slices",
    "generated_at", "run_id", "snapshot_prefix", "model_families", "rank_metric", "rows_count", "missing_jobs_count",
    "missing_jobs", "common_rows", "baselines", "leakage", "tables", "difference_metric", "best_by_rank_metric",
    "best_by_mae_log", "rows", "lead", "lead_among_ties", "temporal_checks",
}  # fmt: skip


def comparison(run):
    return run.files(keys.comparison(run.id))


def test_all_jobs_with_the_metrics_of_their_snapshots(finished):
    files = comparison(finished)
    assert set(files) == {"metrics_comparison.csv", "metrics_comparison.json", "best_by_mae_log.json"}
    document = json.loads(files["metrics_comparison.json"])
    assert set(document) == DOCUMENT
    assert (document["rows_count"], document["missing_jobs_count"], document["missing_jobs"]) == (20, 0, [])
    assert document["snapshot_prefix"] == keys.snapshots_prefix(finished.id)
    rows = list(csv.DictReader(io.StringIO(files["metrics_comparison.csv"].decode())))
    assert list(rows[0]) == COLUMNS
    assert len({(row["model"], row["fusion_strategy"], row["target_horizon_days"]) for row in rows}) == 20
    for row in rows:
        summary = finished.json(row["metrics_key"])
        assert summary["fusion_strategy"] == row["fusion_strategy"]
        assert str(summary["target_horizon_days"]) == row["target_horizon_days"]
        assert row["status"] == "ok"
        for part in ("val", "test"):
            assert {name: float(row[f"{part}_{name}"]) for name in METRICS} == summary["models"][row["model"]][part]


def test_r2_is_ranked_descending(finished):
    document = json.loads(comparison(finished)["metrics_comparison.json"])
    assert document["rank_metric"] == "val_r2_log"
    for days in (7, 30):
        values = [row["val_r2_log"] for row in document["rows"] if row["target_horizon_days"] == days]
        assert len(set(values)) > 1
        assert values == sorted(values, reverse=True)
        assert document["best_by_rank_metric"][str(days)]["val_r2_log"] == max(values)
        errors = [row["val_mae_log"] for row in document["rows"] if row["target_horizon_days"] == days]
        assert document["best_by_mae_log"][str(days)]["val_mae_log"] == min(errors)


def test_best_by_mae_log_is_told_apart_too(finished):
    files = comparison(finished)
    alone, whole = (json.loads(files[name]) for name in ("best_by_mae_log.json", "metrics_comparison.json"))
    assert alone["best_by_mae_log"] == whole["best_by_mae_log"]


def test_missing_jobs_are_marked_and_finished_ones_kept(upstream, run):
    """One strategy without a manifest: its jobs never run, the other's leaderboard stands."""
    del upstream.manifests[Strategy.MAX_POOL]
    upstream.upload()
    run.resolve(strategies=["concat", "max_pool"])
    run.step("scan_metadata")
    run.step("filter_metadata", horizon=Horizon.D7)
    run.step("split_videos", horizon=Horizon.D7)
    for name in ("resolve_manifest", "reconstruct_fused"):
        run.step(name, Strategy.CONCAT)
    run.step("reconstruct_modalities")
    pair = (Strategy.CONCAT, Horizon.D7)
    run.step("build_split", *pair)
    run.step("train", *pair, Family.RIDGE)
    record = run.step("leaderboard")
    assert (record.rows, record.missing) == (1, ("max_pool_7d.ridge",))
    document = json.loads(comparison(run)["metrics_comparison.json"])
    assert [(row["fusion_strategy"], row["status"]) for row in document["rows"]] == [
        ("concat", "ok"),
        ("max_pool", "missing"),
    ]
    assert document["rows"][1]["val_rmse_log"] is None
    assert document["missing_jobs"] == ["max_pool_7d.ridge"]
    rows = list(csv.DictReader(io.StringIO(comparison(run)["metrics_comparison.csv"].decode())))
    assert rows[1]["val_rmse_log"] == ""


def test_strategies_are_judged_on_the_videos_that_all_of_them_have(upstream, run):
    upstream.upload()
    run.resolve(run_id="before")
    run.vectors()
    parts = run.frame(keys.video_split(run.id, Horizon.D7)).set_index("video_id")["split"]
    lost = next(row for row, name in enumerate(upstream.ids) if parts[name] == "test")
    upstream.manifests[Strategy.MAX_POOL].loc[lost, "shard_idx"] = 99
    upstream.upload()
    run.resolve(strategies=["concat", "max_pool"], models=["ridge", "gbdt"])
    run.whole()
    document = json.loads(comparison(run)["metrics_comparison.json"])
    assert document["common_rows"] == {"7": {"val": 3, "test": 4}}
    assert {(row["fusion_strategy"], row["n_val"], row["n_test"]) for row in document["rows"]} == {
        ("concat", 3, 5),
        ("max_pool", 3, 4),
    }
    row = next(row for row in document["rows"] if (row["fusion_strategy"], row["model"]) == ("concat", "ridge"))
    prefix = keys.job_snapshot(run.id, Family.RIDGE, Strategy.CONCAT, Horizon.D7)
    test = run.frame(f"{prefix}predictions/test.parquet").query("video_id != @upstream.ids[@lost]")
    error = (test["pred_ridge_log"] - test["y_true_log"]).to_numpy()
    np.testing.assert_allclose(row["common_test_rmse_log"], np.sqrt(np.mean(error**2)))
    assert row["common_test_rmse_log"] != row["test_rmse_log"]
    settled = {record.table: {"version": record.version, "id": record.table_id} for record in run.vectors()[0].values()}
    assert document["tables"].items() >= settled.items()
    assert all(table["id"] for table in document["tables"].values())


def test_metrics_that_are_not_those_of_the_snapshot_count_as_missing(upstream, run, store, caplog):
    upstream.upload()
    run.resolve(models=["ridge", "gbdt"])
    run.jobs()
    key = keys.job_snapshot(run.id, Family.GBDT, Strategy.CONCAT, Horizon.D7) + "metrics_summary.json"
    body = store.get(key)
    store.put(key, re.sub(rb'(_log": )(\d)', rb"\g<1>0", body))  # same size, better metrics
    assert run.step("leaderboard").missing == ("concat_7d.gbdt", "concat_7d.ensemble")
    assert "expected the file its _SUCCESS names, got another, in" in caplog.text


def test_what_each_number_is_worth(finished):
    document = json.loads(comparison(finished)["metrics_comparison.json"])
    for row in document["rows"]:
        naive = [
            judged["common_test_rmse_log"]
            for judged in document["baselines"][str(row["target_horizon_days"])]
            if judged["model"] in {"train_mean", "creator_mean"}
        ]
        assert any(np.isclose(row["skill"], 1 - row["common_test_rmse_log"] / rmse) for rmse in naive)
        # Six test videos are too few to be sure of anything.
        assert (row["intervals"]["test"]["rmse_log"], row["skill_interval"], row["difference_p"]) == (None, None, None)
    for days in (7, 30):
        standings = [row["against_best"] for row in document["rows"] if row["target_horizon_days"] == days]
        assert standings == ["best", *9 * [None]]
        assert [row["model"] for row in document["baselines"][str(days)]] == list(Baseline)
    assert document["difference_metric"] == "test_r2_log"


def test_what_each_job_costs(finished):
    document = json.loads(comparison(finished)["metrics_comparison.json"])
    rows = {(row["target_horizon_days"], row["fusion_strategy"], row["model"]): row for row in document["rows"]}
    for (days, strategy, model), row in rows.items():
        prefix = keys.job_snapshot(finished.id, model, Strategy(strategy), Horizon(days))
        told = finished.json(f"{prefix}metrics_summary.json")["cost"][model]
        assert {name: row[name] for name in told} == told
        assert all(value > 0 for value in told.values())
        if model != ENSEMBLE:
            files = finished.files(f"{prefix}models/").items()
            assert row["model_bytes"] == sum(len(body) for name, body in files if not name.endswith(".joblib"))
            continue
        members = [rows[days, strategy, family] for family in DEFAULT_FAMILIES]
        assert row["ms_per_1000_predictions"] == pytest.approx(sum(m["ms_per_1000_predictions"] for m in members))
        assert row["model_bytes"] == sum(member["model_bytes"] for member in members)
        pair = finished.json(
            f"{keys.pair_snapshot(finished.id, Strategy(strategy), Horizon(days))}metrics_summary.json"
        )
        assert pair["cost"] == {
            name: {field: rows[days, strategy, name][field] for field in told} for name in (*DEFAULT_FAMILIES, ENSEMBLE)
        }
    for days in (7, 30):
        of_horizon = [row for row in document["rows"] if row["target_horizon_days"] == days]
        assert of_horizon[0]["pareto"] is True  # nobody has a better metric
        assert min(of_horizon, key=lambda row: row["ms_per_1000_predictions"])["pareto"] is True
        best = document["best_by_rank_metric"][str(days)]
        assert document["lead"][str(days)] == {
            "fusion_strategy": best["fusion_strategy"],
            "model": best["model"],
            "ties": 0,
            "why": "best by the rank metric",
        }


def test_a_run_of_an_earlier_release_that_measured_no_cost(upstream, run, store, monkeypatch):
    monkeypatch.setattr(Documents, "telling", lambda self, **more: self)
    upstream.upload()
    run.resolve(lead_among_ties="cheapest")
    run.whole()
    (row,) = json.loads(comparison(run)["metrics_comparison.json"])["rows"]
    assert (row["status"], row["fit_seconds"], row["pareto"]) == ("ok", None, None)


def test_baselines_without_a_finished_job_are_a_leaderboard_too(upstream, run):
    upstream.upload()
    run.resolve()
    run.splits()
    run.step("baselines", horizon=Horizon.D7)
    assert run.step("leaderboard").missing == ("concat_7d.ridge",)


@pytest.mark.parametrize("altered", ["baselines", "split"])
def test_an_altered_file_beside_the_jobs_hides_none_of_them(upstream, run, store, caplog, altered):
    upstream.upload()
    run.resolve()
    run.whole()
    key = {"baselines": keys.baselines, "split": keys.video_split}[altered](run.id, Horizon.D7)
    store.put(key, b"altered")
    assert run.step("leaderboard").missing == ()
    assert f"compared without it: expected sha256 .* in {store.uri(key)}".split(" .* ")[0] in caplog.text


def test_a_run_of_an_earlier_release_whose_split_tells_no_creator(upstream, run, store):
    upstream.upload()
    run.resolve()
    run.whole()
    key = keys.video_split(run.id, Horizon.D7)
    body = parquet_bytes(run.frame(key).drop(columns="creator"))
    store.put(key, body)
    task = keys.run_record(run.id, "split_videos_7d")
    store.put(task, json.dumps(run.json(task) | {"sha256": hashlib.sha256(body).hexdigest()}).encode())
    assert run.step("leaderboard").missing == ()


def test_a_leaderboard_without_baselines_says_so(upstream, run):
    upstream.upload()
    run.resolve()
    run.jobs()
    run.step("leaderboard")
    document = json.loads(comparison(run)["metrics_comparison.json"])
    assert document["baselines"] == {"7": []}
    assert (document["rows"][0]["status"], document["rows"][0]["skill"]) == ("ok", None)


def test_nothing_finished_is_a_leaderboard_too(upstream, run):
    upstream.upload()
    run.resolve()
    record = run.step("leaderboard")
    assert (record.rows, record.missing) == (0, ("concat_7d.ridge",))
    document = json.loads(comparison(run)["metrics_comparison.json"])
    assert document["best_by_rank_metric"] == {"7": None, "overall": None}


def test_rewritten_as_more_jobs_finish(upstream, run):
    upstream.upload()
    run.resolve()
    run.splits()
    before = run.step("leaderboard")
    run.step("train", Strategy.CONCAT, Horizon.D7, Family.RIDGE)
    after = run.step("leaderboard")
    assert (before.rows, after.rows, after.missing) == (0, 1, ())


@pytest.mark.parametrize("leaks", [False, True])
def test_labels_that_nothing_explains_end_without_skill(upstream, store, run, leaks):
    upstream = type(upstream)(store, videos=400)
    views = np.round(np.random.default_rng(4).lognormal(8, 2, 400))
    upstream.metadata["horizon_view_count"] = np.tile(views, 2)
    if leaks:
        upstream.metadata["channel_subscriber_count"] = np.tile(views, 2)
    upstream.upload()
    run.resolve(models=DEFAULT_FAMILIES, max_epochs=40, leakage_probes="report" if leaks else "block")
    run.whole()
    for row in json.loads(comparison(run)["metrics_comparison.json"])["rows"]:
        low, high = row["skill_interval"]
        assert high - low < 0.2, row["model"]
        # The mean is the best guess of noise: whoever has fitted any of it is a little worse, and nobody is better.
        assert low > 0.2 if leaks else low <= 0 and high > -0.05, (row["model"], low, high)
