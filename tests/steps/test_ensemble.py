"""The ensemble of a pair: its weights, what it is judged by, and what its snapshot holds."""

import json

import numpy as np
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import DEFAULT_FAMILIES, ENSEMBLE, Family, Horizon, Strategy
from clipfarm_tasks.models.ensemble import blend_weights, cross_fitted

PAIR = (Strategy.CONCAT, Horizon.D7)


@pytest.fixture
def blended(finished):
    """The finished run, and its ensemble's files."""
    return finished, finished.files(keys.job_snapshot(finished.id, ENSEMBLE, *PAIR))


def members(run, part):
    """(N, M) published predictions of the families, and the frame they come from."""
    frames = [
        run.frame(f"{keys.job_snapshot(run.id, family, *PAIR)}predictions/{part}.parquet").set_index("video_id")
        for family in DEFAULT_FAMILIES
    ]
    columns = [
        frame.loc[frames[0].index, f"pred_{family}_log"] for family, frame in zip(DEFAULT_FAMILIES, frames, strict=True)
    ]
    return np.stack(columns, axis=1), frames[0]


def test_weights_are_those_of_the_val_part_and_make_the_test_predictions(blended):
    run, files = blended
    predictions, frame = members(run, "val")
    truth = frame["y_true_log"].to_numpy()
    weights = json.loads(files["models/ensemble.json"])["weights"]
    assert list(weights) == [str(family) for family in DEFAULT_FAMILIES]
    np.testing.assert_allclose([*weights.values()], blend_weights(predictions, truth))
    prefix = keys.job_snapshot(run.id, ENSEMBLE, *PAIR)
    of_test, _ = members(run, "test")
    found = run.frame(f"{prefix}predictions/test.parquet")["pred_ensemble_log"]
    np.testing.assert_allclose(found, of_test @ np.array([*weights.values()]))


def test_val_is_predicted_with_weights_that_have_not_seen_the_creator(blended):
    run, _ = blended
    predictions, frame = members(run, "val")
    creator = run.frame(keys.video_split(run.id, PAIR[1])).set_index("video_id")["creator"]
    expected = cross_fitted(predictions, frame["y_true_log"].to_numpy(), creator[frame.index])
    prefix = keys.job_snapshot(run.id, ENSEMBLE, *PAIR)
    found = run.frame(f"{prefix}predictions/val.parquet").set_index("video_id").loc[frame.index]
    np.testing.assert_allclose(found["pred_ensemble_log"], expected)


def test_the_snapshot_holds_its_members_files_and_tells_their_data(blended):
    run, files = blended
    config = json.loads(files["config_used.json"])
    assert (config["model_family"], config["trained_models"]) == (ENSEMBLE, [ENSEMBLE])
    assert set(config["hyperparams"][ENSEMBLE]["weights"]) == set(DEFAULT_FAMILIES)
    for family in DEFAULT_FAMILIES:
        of_job = run.files(keys.job_snapshot(run.id, family, *PAIR))
        assert {name: body for name, body in of_job.items() if name.startswith("models/")}.items() <= files.items()
        job = json.loads(of_job["config_used.json"])
        assert config["training_data_sha256"][ENSEMBLE][family] == job["training_data_sha256"][family]
        assert of_job["data_summary.json"] == files["data_summary.json"]
        assert config["versions"] == job["versions"]


def test_a_missing_member_is_named_and_a_finished_ensemble_is_reused(upstream, run):
    upstream.upload()
    run.resolve(models=["ridge", "gbdt"])
    run.splits()
    run.step("train", *PAIR, Family.RIDGE)
    with pytest.raises(DataError, match="got no metrics of gbdt, at s3://.*retry concat_7d.train_gbdt first"):
        run.step("ensemble", *PAIR)
    run.step("train", *PAIR, Family.GBDT)
    record = run.step("ensemble", *PAIR)
    assert (record.model, record.best_model, record.reused) == (ENSEMBLE, ENSEMBLE, False)
    before = run.files(keys.snapshots_prefix(run.id))
    assert run.step("ensemble", *PAIR).reused
    assert run.files(keys.snapshots_prefix(run.id)) == before


def test_intervals_and_metrics_are_those_of_its_predictions(blended):
    run, files = blended
    metrics = json.loads(files["metrics_summary.json"])
    test = run.frame(f"{keys.job_snapshot(run.id, ENSEMBLE, *PAIR)}predictions/test.parquet")
    error = test["pred_ensemble_log"] - test["y_true_log"]
    assert metrics["models"][ENSEMBLE]["test"]["rmse_log"] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert (test["pred_ensemble_low"] <= test["pred_ensemble_high"]).all()
