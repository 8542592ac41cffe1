import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.config import RankMetric
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.leaderboard_csv import leaderboard_frame
from clipfarm_tasks.evaluation.predictions import family_metrics
from clipfarm_tasks.evaluation.reports import job_documents, pair_documents
from clipfarm_tasks.evaluation.slices import slice_metrics
from clipfarm_tasks.families import Family

JSON_DOCUMENTS = ("config_used", "data_summary", "metrics_summary", "slice_metrics", "slices")


def test_a_job_names_only_its_family(make_job):
    documents = make_job(Family.RIDGE)
    assert documents.metrics_summary["trained_models"] == documents.config_used["trained_models"] == ["ridge"]
    assert documents.leaderboard["model"].tolist() == list(documents.slice_metrics) == ["ridge"]
    for name in JSON_DOCUMENTS:
        json.dumps(getattr(documents, name), allow_nan=False)


def test_a_job_tells_how_sure_it_is_and_where_a_video_will_end(make_job):
    documents = make_job(Family.RIDGE)
    told = documents.metrics_summary["uncertainty"]["ridge"]
    assert set(told) == {"spearman", "intervals", "prediction_interval", "calibration"}
    for part in ("val", "test"):
        assert told["intervals"][part]["rmse_log"] is None  # six rows of three creators
        frame = documents.predictions[part]
        assert (frame["pred_ridge_low"] <= frame["pred_ridge_raw"]).all()
        assert (frame["pred_ridge_raw"] <= frame["pred_ridge_high"]).all()
        json.dumps(told, allow_nan=False)
        found = told["prediction_interval"][part]
        inside = frame["y_true_raw"].between(frame["pred_ridge_low"] - 1e-6, frame["pred_ridge_high"] + 1e-6)
        assert found["coverage"] == pytest.approx(inside.mean())
        assert found["n"] == len(frame) == sum(found[f"text_present_{flag}"]["n"] for flag in (0, 1))


def test_a_pair_equals_its_joined_predictions_judged_anew(make_job, pair):
    noises = (3.0, 2.0, 0.5, 1.0, 2.5, 1.5)
    jobs = {str(family): make_job(family, noise) for family, noise in zip(Family, noises, strict=True)}
    documents = pair_documents(pair, jobs)
    families = [str(family) for family in Family]
    again = family_metrics(documents.predictions, families)
    for family in families:
        for part in ("val", "test"):
            assert documents.metrics_summary["models"][family][part] == pytest.approx(again[family][part])
    assert documents.metrics_summary["best_model"] == "ridge"
    assert documents.leaderboard["model"].tolist()[0] == "ridge"
    columns = documents.leaderboard.columns[2:]
    np.testing.assert_allclose(documents.leaderboard[columns], leaderboard_frame(again, RankMetric.RMSE_LOG)[columns])
    anew = slice_metrics(documents.predictions, families)
    assert documents.slice_metrics["gbdt"]["val"]["text_present_1"] == pytest.approx(
        anew["gbdt"]["val"]["text_present_1"]
    )
    assert list(documents.slice_metrics) == families
    assert documents.data_summary == jobs["ridge"].data_summary
    assert documents.config_used["hyperparams"] == {family: {"of": family} for family in families}


def through_parquet(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(frame.to_parquet(index=False)))


def test_a_pair_survives_the_way_through_files(make_job, pair):
    jobs = {family: make_job(Family(family)) for family in ("ridge", "gbdt")}
    read_back = {
        family: replace(
            job,
            **{name: json.loads(json.dumps(getattr(job, name))) for name in JSON_DOCUMENTS},
            predictions={part: through_parquet(frame) for part, frame in job.predictions.items()},
        )
        for family, job in jobs.items()
    }
    direct, indirect = pair_documents(pair, jobs), pair_documents(pair, read_back)
    for name in JSON_DOCUMENTS:
        assert getattr(direct, name) == getattr(indirect, name)
    for part in ("val", "test"):
        pd.testing.assert_frame_equal(direct.predictions[part], indirect.predictions[part], check_exact=True)


def test_a_pair_of_one_job_is_called_all(make_job, pair):
    documents = pair_documents(pair, {"gbdt": make_job(Family.GBDT)})
    assert documents.metrics_summary["model_family"] == "all"
    assert documents.leaderboard["rank"].tolist() == [1]


def test_jobs_of_other_data_do_not_merge(make_job, pair):
    ridge, gbdt = make_job(Family.RIDGE), make_job(Family.GBDT)
    other = replace(gbdt, data_summary={**gbdt.data_summary, "n_total": 41})
    with pytest.raises(DataError, match=r"got another n_total of gbdt than of ridge, in data_summary\.json, run r1"):
        pair_documents(pair, {"ridge": ridge, "gbdt": other})
    fewer = replace(gbdt, predictions={**gbdt.predictions, "test": gbdt.predictions["test"].iloc[1:]})
    with pytest.raises(DataError, match=r"expected the same videos .*, in gbdt and ridge, predictions/test\.parquet"):
        pair_documents(pair, {"ridge": ridge, "gbdt": fewer})


def test_a_pair_needs_metrics_of_every_job(make_job, pair):
    with pytest.raises(DataError, match=r"expected metrics of gbdt, got those of \['ridge'\], in gbdt, run r1"):
        pair_documents(pair, {"gbdt": make_job(Family.RIDGE)})
    with pytest.raises(DataError, match=r"got \[\], in run r1, concat 7d, all"):
        pair_documents(pair, {})


def test_a_job_needs_a_family_and_both_parts(pair, data, make_job):
    predictions = make_job(Family.RIDGE).predictions
    with pytest.raises(DataError, match="expected a training job's scope, got a pair's, in run r1"):
        job_documents(pair, data, {}, "cpu", {}, predictions, {})
    job = replace(pair, family=Family.RIDGE)
    with pytest.raises(DataError, match=r"got none of \['test'\], in run r1, concat 7d, ridge"):
        job_documents(job, data, {}, "cpu", {}, {"val": predictions["val"]}, {})
