import json
import math
from dataclasses import replace

import pytest

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.metrics_summary import metrics_of, metrics_summary
from clipfarm_tasks.evaluation.scope import Scope
from clipfarm_tasks.families import Family, Horizon, Strategy

METRICS = ("rmse_log", "mae_log", "r2_log", "rmse_raw", "mae_raw")


def metrics(value: float) -> dict:
    return {part: dict.fromkeys(METRICS, value) for part in ("val", "test")}


def test_fields_of_a_pair(pair):
    document = metrics_summary(pair, {"gbdt": metrics(1.0), "concat_mlp": metrics(2.0)})
    assert {key: value for key, value in document.items() if key != "models"} == {
        "generated_at": "2026-03-05T00:00:00+00:00",
        "run_id": "r1",
        "fusion_strategy": "concat",
        "target_horizon_days": 7,
        "model_family": "all",
        "trained_models": ["concat_mlp", "gbdt"],
        "target_transform": "log1p(horizon_view_count)",
        "rank_metric": "val_rmse_log",
        "best_model": "gbdt",
    }
    assert document["models"] == {"concat_mlp": metrics(2.0), "gbdt": metrics(1.0)}


def test_a_job_names_its_family_even_when_it_is_the_only_one(pair):
    job = replace(pair, family=Family.RIDGE)
    assert metrics_summary(job, {"ridge": metrics(1.0)})["model_family"] == "ridge"
    assert metrics_summary(pair, {"ridge": metrics(1.0)})["model_family"] == "all"


def test_best_model_follows_the_rank_metric(make_config):
    scope = Scope(make_config(rank_metric="val_r2_log"), Strategy.CONCAT, Horizon.D30)
    document = metrics_summary(scope, {"gbdt": metrics(0.1), "ridge": metrics(0.3)})
    assert (document["best_model"], document["rank_metric"]) == ("ridge", "val_r2_log")


def test_undefined_metrics_are_null(pair):
    broken = metrics(1.0)
    broken["val"]["r2_log"] = math.nan
    document = json.loads(json.dumps(metrics_summary(pair, {"ridge": broken}), allow_nan=False))
    assert document["models"]["ridge"]["val"]["r2_log"] is None


def test_a_family_without_metrics_is_refused(pair):
    incomplete = metrics(1.0)
    del incomplete["test"]["mae_raw"]
    message = r"expected metrics of ridge for val and test, got none for test\.mae_raw, in run r1, concat 7d, all"
    with pytest.raises(DataError, match=message):
        metrics_summary(pair, {"ridge": incomplete})
    with pytest.raises(DataError, match=r"expected one or more of the families .*, got \[\], in run r1"):
        metrics_summary(pair, {})
    document = metrics_summary(pair, {"gbdt": metrics(1.0)})
    with pytest.raises(DataError, match=r"expected metrics of ridge, got those of \['gbdt'\], in there"):
        metrics_of(document, "ridge", "there")


def test_metrics_come_back_out_of_a_document(pair):
    document = metrics_summary(pair, {"gbdt": metrics(1.5), "ridge": metrics(2.5)})
    assert metrics_of(document, "ridge", "here") == metrics(2.5)
