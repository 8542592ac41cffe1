import math

import pytest

from clipfarm_tasks.config import RankMetric
from clipfarm_tasks.evaluation.ranking import flatten, rank_families

METRICS = ("rmse_log", "mae_log", "r2_log", "rmse_raw", "mae_raw")


def metrics(val: float | None, test: float = 0.0) -> dict:
    return {"val": dict.fromkeys(METRICS, val), "test": dict.fromkeys(METRICS, test)}


@pytest.mark.parametrize("metric", [m for m in RankMetric if m is not RankMetric.R2_LOG])
def test_smallest_error_ranks_first(metric):
    assert rank_families({"a": metrics(3.0), "b": metrics(1.0), "c": metrics(2.0)}, metric) == ["b", "c", "a"]


def test_largest_r2_ranks_first():
    models = {"a": metrics(-0.2), "b": metrics(0.5), "c": metrics(0.1)}
    assert rank_families(models, RankMetric.R2_LOG) == ["b", "c", "a"]


@pytest.mark.parametrize("metric", list(RankMetric))
@pytest.mark.parametrize("undefined", [None, math.nan])
def test_undefined_values_rank_last_and_ties_go_by_name(metric, undefined):
    models = {"a": metrics(undefined), "d": metrics(1.0), "b": metrics(undefined), "c": metrics(1.0)}
    assert rank_families(models, metric) == ["c", "d", "a", "b"]


def test_only_the_named_metric_of_the_validation_part_decides():
    models = {"a": metrics(1.0, test=9.0), "b": metrics(2.0, test=0.0)}
    models["b"]["val"]["mae_log"] = 0.5
    assert rank_families(models, RankMetric.RMSE_LOG) == ["a", "b"]
    assert rank_families(models, RankMetric.MAE_LOG) == ["b", "a"]


def test_flatten_names_columns_by_part():
    flat = flatten(metrics(1.0, test=2.0))
    assert list(flat) == [f"{part}_{name}" for part in ("val", "test") for name in METRICS]
    assert [flat["val_mae_log"], flat["test_mae_log"]] == [1.0, 2.0]
    assert set(flatten(None).values()) == {None}
