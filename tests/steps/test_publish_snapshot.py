import csv
import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from clipfarm_tasks import keys
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import DEFAULT_FAMILIES, ENSEMBLE, Family, Horizon, Strategy

PAIR = (Strategy.CONCAT, Horizon.D7)
MODELS = [*map(str, DEFAULT_FAMILIES), ENSEMBLE]
FILES = {
    "config_used.json", "data_summary.json", "metrics_summary.json", "slice_metrics_text_present.json",
    "slices.json", "split_manifest.parquet", "leaderboard.csv", "predictions/val.parquet", "predictions/test.parquet",
    "_SUCCESS",
    "models/concat_mlp.pt", "models/gated_fusion_mlp.pt", "models/ridge.joblib", "models/gbdt.joblib",
    "models/ridge.skops", "models/gbdt.skops", "models/ensemble.json",
    "models/gbdt_projector.pt", "curves/concat_mlp_curve.json", "curves/gated_fusion_mlp_curve.json",
    "curves/gbdt_projector_curve.json",
    *(f"models/{family}_text_neighbours.arrow" for family in DEFAULT_FAMILIES),
    *(f"models/{family}_creator_history.arrow" for family in DEFAULT_FAMILIES),
}  # fmt: skip
COLUMNS = ["rmse_log", "mae_log", "r2_log", "rmse_raw", "mae_raw"]


def recomputed(frame, family):
    """The five metrics by scikit-learn, from the published columns alone."""
    log = frame["y_true_log"], frame[f"pred_{family}_log"]
    raw = frame["y_true_raw"], np.maximum(np.expm1(frame[f"pred_{family}_log"].clip(-20, 30)), 0)
    np.testing.assert_allclose(raw[1], frame[f"pred_{family}_raw"], rtol=1e-12)
    return {
        "rmse_log": mean_squared_error(*log) ** 0.5,
        "mae_log": mean_absolute_error(*log),
        "r2_log": r2_score(*log),
        "rmse_raw": mean_squared_error(*raw) ** 0.5,
        "mae_raw": mean_absolute_error(*raw),
    }


@pytest.fixture(params=[(strategy, horizon) for strategy in ("concat", "max_pool") for horizon in (7, 30)])
def pair(request, finished):
    """Files of one pair's snapshot of the finished run."""
    strategy, horizon = request.param
    return finished.files(keys.pair_snapshot(finished.id, Strategy(strategy), Horizon(horizon)))


def predictions(files):
    return {part: pd.read_parquet(io.BytesIO(files[f"predictions/{part}.parquet"])) for part in ("val", "test")}


def test_every_metric_follows_from_the_published_predictions(pair):
    parts = predictions(pair)
    summary = json.loads(pair["metrics_summary.json"])
    board = {row["model"]: row for row in csv.DictReader(io.StringIO(pair["leaderboard.csv"].decode()))}
    assert set(board) == set(summary["models"]) == set(MODELS)
    for family in MODELS:
        for part, frame in parts.items():
            expected = recomputed(frame, family)
            assert summary["models"][family][part] == pytest.approx(expected, rel=1e-9)
            assert {name: float(board[family][f"{part}_{name}"]) for name in COLUMNS} == pytest.approx(
                expected, rel=1e-9
            )


def test_every_slice_follows_from_the_published_predictions(pair):
    slices = json.loads(pair["slice_metrics_text_present.json"])
    seen = 0
    for family in MODELS:
        for part, frame in predictions(pair).items():
            for flag in (0, 1):
                rows = frame[frame["text_present"] == flag]
                found = slices[family][part][f"text_present_{flag}"]
                assert found["n"] == len(rows)
                if len(rows) > 1:
                    assert found == pytest.approx(recomputed(rows, family) | {"n": len(rows)}, rel=1e-9)
                    seen += 1
    assert seen > 4


def test_leaderboard_columns_and_order(pair):
    rows = list(csv.DictReader(io.StringIO(pair["leaderboard.csv"].decode())))
    names = [f"{part}_{name}" for part in ("val", "test") for name in COLUMNS]
    assert list(rows[0])[:12] == ["rank", "model", *names]
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    ranked = [float(row["val_r2_log"]) for row in rows]  # the run ranks by val_r2_log: the larger the better
    assert ranked == sorted(ranked, reverse=True)
    assert json.loads(pair["metrics_summary.json"])["best_model"] == rows[0]["model"]


def test_pair_holds_the_files_of_all_its_families(finished, pair):
    assert set(pair) == FILES
    marker = json.loads(pair["_SUCCESS"])
    assert set(marker["files"]) == FILES - {"_SUCCESS"}
    config = json.loads(pair["config_used.json"])
    assert config["model_family"] == "all"
    assert config["trained_models"] == [*MODELS]
    assert set(config["hyperparams"]) == set(MODELS)
    job = finished.files(
        keys.job_snapshot(
            finished.id, Family.GBDT, Strategy(config["fusion_strategy"]), Horizon(config["target_horizon_days"])
        )
    )
    of_job = json.loads(job["config_used.json"])["training_data_sha256"]
    assert set(config["training_data_sha256"]) == set(MODELS)
    assert config["training_data_sha256"]["gbdt"] == of_job["gbdt"]
    for name in ("models/gbdt.joblib", "models/gbdt_projector.pt", "curves/gbdt_projector_curve.json"):
        assert pair[name] == job[name]
    assert pair["split_manifest.parquet"] == job["split_manifest.parquet"]


def test_predictions_of_all_families_stand_side_by_side(finished):
    for part in ("val", "test"):
        whole = finished.frame(f"{keys.pair_snapshot(finished.id, *PAIR)}predictions/{part}.parquet")
        assert whole.columns.tolist()[:4] == ["video_id", "text_present", "y_true_log", "y_true_raw"]
        for family in MODELS:
            columns = ["video_id", *(f"pred_{family}_{name}" for name in ("log", "raw", "low", "high"))]
            job = finished.frame(f"{keys.job_snapshot(finished.id, family, *PAIR)}predictions/{part}.parquet")
            pd.testing.assert_frame_equal(whole[columns], job[columns])


def unpublished(upstream, run):
    upstream.upload()
    run.resolve(models=["ridge", "gbdt"])
    run.jobs()
    run.step("ensemble", *PAIR)


@pytest.fixture
def jobs(made_once):
    return made_once(unpublished)


def test_missing_family_is_named(jobs, store):
    store.delete([keys.job_snapshot(jobs.id, Family.GBDT, *PAIR) + keys.SUCCESS, *_commit(jobs, Family.GBDT)])
    with pytest.raises(DataError, match=r"got no metrics of gbdt, at s3://.*: retry concat_7d.train_gbdt first"):
        jobs.step("publish_snapshot", *PAIR)
    assert jobs.files(keys.pair_snapshot(jobs.id, *PAIR)) == {}


def _commit(run, family):
    return [keys.commit(keys.job_snapshot(run.id, family, *PAIR), run.id)]


@pytest.mark.parametrize("change", [lambda body: body[:-1], lambda body: body + b" ", None])
def test_job_file_that_is_not_the_marked_one_is_refused(jobs, store, change):
    key = keys.job_snapshot(jobs.id, Family.RIDGE, *PAIR) + "metrics_summary.json"
    if change is None:
        store.delete([key])
    else:
        store.put(key, change(store.get(key)))
    with pytest.raises(DataError, match=rf"expected the file its _SUCCESS names, got (another|none), in s3://.*{key}"):
        jobs.step("publish_snapshot", *PAIR)


def test_finished_pair_is_reused_and_nothing_is_written(jobs, store):
    first = jobs.step("publish_snapshot", *PAIR)
    assert (first.model, first.reused) == ("all", False)
    before = {info.key: info.etag for info in store.list("clipfarm/models/")}
    assert jobs.step("publish_snapshot", *PAIR) == first.model_copy(update={"reused": True})
    assert {info.key: info.etag for info in store.list("clipfarm/models/")} == before


def test_single_family_is_a_pair_too(upstream, run):
    upstream.upload()
    run.resolve()
    run.jobs()
    record = run.step("publish_snapshot", *PAIR)
    assert (record.model, record.best_model) == ("all", "ridge")


def test_file_that_was_cut_short_on_its_way_is_read_again(jobs, store, monkeypatch):
    get_many = store.get_many

    def cut(keys):
        for key, fetched in get_many(keys):
            yield key, replace(fetched, body=fetched.body[:-1])

    with monkeypatch.context() as patched:
        patched.setattr(store, "get_many", cut)
        jobs.step("publish_snapshot", *PAIR)
    pair = jobs.files(keys.pair_snapshot(jobs.id, *PAIR))
    for family in (Family.RIDGE, Family.GBDT):
        job = jobs.files(keys.job_snapshot(jobs.id, family, *PAIR))
        assert pair[f"models/{family}.joblib"] == job[f"models/{family}.joblib"]
