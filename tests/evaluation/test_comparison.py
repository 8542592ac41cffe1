import io
import json
from dataclasses import replace

import pandas as pd
import pytest

from clipfarm_tasks.config import RankMetric
from clipfarm_tasks.evaluation.bootstrap import Difference, Interval
from clipfarm_tasks.evaluation.certainty import Certainty, Standing
from clipfarm_tasks.evaluation.comparison import (
    JobResult,
    best_by,
    best_by_mae_log_document,
    comparison_document,
    comparison_rows,
    comparison_table,
    missing_jobs,
)
from clipfarm_tasks.evaluation.cost import FIELDS, SERVING
from clipfarm_tasks.families import Family, Horizon, Strategy

METRICS = ("rmse_log", "mae_log", "r2_log", "rmse_raw", "mae_raw")
COLUMNS = [
    "model_family", "fusion_strategy", "target_horizon_days", "model",
    *(f"{part}_{metric}" for part in ("val", "test") for metric in METRICS), "metrics_key", "status", "n_val", "n_test",
    *(f"common_{part}_{metric}" for part in ("val", "test") for metric in METRICS), "skill", "difference_p",
    "against_best", "common_test_spearman", "common_test_rmse_log_low", "common_test_rmse_log_high",
    "common_skill_low", "common_skill_high", "common_difference_low", "common_difference_high",
    "fit_seconds", "fit_cpu_seconds", "process_peak_mib",
    "ms_per_1000_predictions", "model_bytes", "pareto",
]  # fmt: skip
COUNTS = {Horizon.D7: {"val": 30, "test": 20}}
TABLES = {"modalities": {"version": 3, "id": "m"}}


def job(strategy: str, days: int, family: str, value: float | None, **val: float | None) -> JobResult:
    part = dict.fromkeys(METRICS, value)
    metrics = None if value is None else {"val": {**part, **val}, "test": dict.fromkeys(METRICS, 100 - value)}
    key = f"{strategy}/{days}/{family}.json"
    rows = None if value is None else {"val": 30, "test": 20}
    # Its own metrics are better than those on the common rows, in the other order: only these decide.
    own = (
        None
        if metrics is None
        else {part: dict.fromkeys(METRICS, -values["rmse_log"]) for part, values in metrics.items()}
    )
    common = None if metrics is None else certainty(metrics)
    cost = None if metrics is None else dict.fromkeys(FIELDS, 10) | {SERVING: 5.0 - value}
    return JobResult(Strategy(strategy), Horizon(days), Family(family), key, own, rows, common, cost)


def certainty(metrics):
    within = Interval(1.0, 2.0)
    return Certainty(
        metrics={part: {**values, "spearman": 0.5} for part, values in metrics.items()},
        intervals={part: dict.fromkeys(values, within) for part, values in metrics.items()},
        skill=(0.25, Interval(0.2, 0.3)),
        difference=Difference(Interval(-0.1, 0.4), 0.6),
        p=0.6,
        standing=Standing.TIE,
    )


@pytest.fixture
def jobs() -> list[JobResult]:
    return [
        job("concat", 7, "ridge", 3.0),
        job("concat", 7, "gbdt", 1.0, mae_log=9.0),
        job("sum_pool", 7, "ridge", None),
        job("sum_pool", 7, "gbdt", 2.0),
        job("concat", 30, "ridge", 0.2),
        job("concat", 30, "gbdt", 0.3),
        job("sum_pool", 30, "ridge", 0.1),
        job("sum_pool", 30, "gbdt", None),
    ]


def names(rows):
    return [(row["target_horizon_days"], row["fusion_strategy"], row["model"]) for row in rows]


def test_rows_are_ranked_within_each_horizon_and_missing_ones_end_it(jobs):
    rows = comparison_rows(jobs, RankMetric.RMSE_LOG)
    assert names(rows) == [
        (7, "concat", "gbdt"), (7, "sum_pool", "gbdt"), (7, "concat", "ridge"), (7, "sum_pool", "ridge"),
        (30, "sum_pool", "ridge"), (30, "concat", "ridge"), (30, "concat", "gbdt"), (30, "sum_pool", "gbdt"),
    ]  # fmt: skip
    assert [row["status"] for row in rows] == ["ok", "ok", "ok", "missing"] * 2


def test_r2_ranks_descending(jobs):
    rows = comparison_rows(jobs, RankMetric.R2_LOG)
    assert names(rows)[:4] == [
        (7, "concat", "ridge"), (7, "sum_pool", "gbdt"), (7, "concat", "gbdt"), (7, "sum_pool", "ridge"),
    ]  # fmt: skip


def test_a_row_tells_a_job_its_own_metrics_and_those_on_the_common_rows(jobs):
    row = comparison_rows(jobs, RankMetric.RMSE_LOG)[0]
    assert (row["model_family"], row["model"], row["n_val"], row["n_test"]) == ("gbdt", "gbdt", 30, 20)
    assert (row["val_rmse_log"], row["test_rmse_log"]) == (-1.0, -99.0)
    assert (row["common_val_rmse_log"], row["common_test_rmse_log"]) == (1.0, 99.0)


def test_the_front_goes_by_the_direction_of_the_rank_metric():
    alike = dict.fromkeys(FIELDS, 10)
    pair = [replace(job("concat", 7, family, value), cost=alike) for family, value in (("ridge", 0.5), ("gbdt", 0.4))]
    for metric, best in ((RankMetric.R2_LOG, "ridge"), (RankMetric.RMSE_LOG, "gbdt")):
        assert [row["model"] for row in comparison_rows(pair, metric) if row["pareto"]] == [best]


def test_a_missing_job_is_listed_with_null_metrics_and_where_they_would_be(jobs):
    (row,) = (
        row for row in comparison_rows(jobs, RankMetric.RMSE_LOG) if row["metrics_key"] == "sum_pool/7/ridge.json"
    )
    told = {"model_family", "fusion_strategy", "target_horizon_days", "model", "metrics_key", "status"}
    assert row["status"] == "missing"
    assert {value for name, value in row.items() if name not in told} == {None}


def test_table_has_the_contract_columns_and_empty_cells(jobs):
    text = comparison_table(comparison_rows(jobs, RankMetric.RMSE_LOG)).to_csv(index=False)
    assert text.splitlines()[0] == ",".join(COLUMNS)
    back = pd.read_csv(io.StringIO(text))
    assert len(back) == 8
    assert set(pd.read_csv(io.StringIO(text), dtype=str)["n_val"].dropna()) == {"30"}
    assert back.loc[back["status"] == "missing", "val_rmse_log"].isna().all()
    assert back["target_horizon_days"].tolist() == [7] * 4 + [30] * 4
    first, last = back.iloc[0], back.iloc[-1]
    told = {"common_test_rmse_log": (1.0, 2.0), "common_skill": (0.2, 0.3), "common_difference": (-0.1, 0.4)}
    for name, ends in told.items():
        assert (first[f"{name}_low"], first[f"{name}_high"]) == ends
        assert last[[f"{name}_low", f"{name}_high"]].isna().all()
    assert (first["skill"], first["common_test_spearman"], first["against_best"]) == (0.25, 0.5, "tie")


def test_cost_and_front_are_told_of_each_job_and_compared_within_its_horizon(jobs):
    rows = comparison_rows([*jobs, replace(jobs[0], strategy=Strategy.MAX_POOL, cost=None)], RankMetric.RMSE_LOG)
    told = {
        (*named, row["status"]): (row[SERVING], row["pareto"]) for named, row in zip(names(rows), rows, strict=True)
    }
    assert told[7, "concat", "gbdt", "ok"] == (4.0, True)  # the best of its horizon
    assert told[7, "concat", "ridge", "ok"] == (2.0, True)  # the cheapest of it, though others of 30 days beat it
    assert told[7, "max_pool", "ridge", "ok"] == (None, None)  # of an earlier release
    assert told[7, "sum_pool", "ridge", "missing"] == (None, None)
    dear = replace(jobs[0], cost=dict.fromkeys(FIELDS, 10) | {SERVING: 4.5})
    assert [row["pareto"] for row in comparison_rows([dear, jobs[1]], RankMetric.RMSE_LOG)] == [True, False]
    back = pd.read_csv(io.StringIO(comparison_table(rows).to_csv(index=False)))
    assert (back["model_bytes"][0], back[SERVING][0], back["pareto"][0]) == (10, 4.0, True)


def test_table_of_only_missing_jobs(make_config):
    rows = comparison_rows([job("concat", 7, "ridge", None)], RankMetric.RMSE_LOG)
    assert comparison_table(rows)["val_r2_log"].isna().tolist() == [True]
    assert best_by(rows, RankMetric.RMSE_LOG) == {"7": None, "overall": None}


def test_best_is_told_for_each_horizon_and_by_mean_rank_overall(jobs):
    best = best_by(comparison_rows(jobs, RankMetric.RMSE_LOG), RankMetric.RMSE_LOG)
    assert list(best) == ["7", "30", "overall"]
    assert names([best["7"], best["30"]]) == [(7, "concat", "gbdt"), (30, "sum_pool", "ridge")]
    # Finished for both horizons: concat gbdt at 1 and 3, concat ridge at 3 and 2.
    assert best["overall"] == {
        "metric": "val_rmse_log",
        "fusion_strategy": "concat",
        "model": "gbdt",
        "mean_rank": 2.0,
        "horizons": [7, 30],
    }


def test_overall_goes_by_the_mean_rank_and_not_by_the_name():
    found = [
        job(strategy, days, "ridge", value)
        for strategy, value in (("concat", 2.0), ("sum_pool", 1.0))
        for days in (7, 30)
    ]
    assert (
        best_by(comparison_rows(found, RankMetric.RMSE_LOG), RankMetric.RMSE_LOG)["overall"]["fusion_strategy"]
        == "sum_pool"
    )


def test_overall_is_null_when_no_combination_finished_everywhere():
    rows = comparison_rows([job("concat", 7, "ridge", 1.0), job("concat", 30, "ridge", None)], RankMetric.RMSE_LOG)
    assert best_by(rows, RankMetric.RMSE_LOG)["overall"] is None


def test_an_undefined_metric_never_wins():
    rows = comparison_rows(
        [job("concat", 7, "ridge", 1.0, mae_log=float("nan")), job("concat", 7, "gbdt", 5.0)], RankMetric.RMSE_LOG
    )
    assert best_by(rows, RankMetric.MAE_LOG)["7"]["model"] == "gbdt"


def test_a_finished_job_with_an_undefined_metric_still_comes_before_a_missing_one():
    undefined = job("sum_pool", 7, "ridge", 1.0, rmse_log=float("nan"))
    rows = comparison_rows([job("concat", 7, "gbdt", None), undefined], RankMetric.RMSE_LOG)
    assert [row["status"] for row in rows] == ["ok", "missing"]
    assert [row["val_rmse_log"] for row in rows] == [None, None]


def test_document_counts_and_fields(jobs, make_config):
    mean = certainty({part: dict.fromkeys(METRICS, 3.0) for part in ("val", "test")})
    baselines = {Horizon.D7: {"train_mean": mean}, Horizon.D30: {}}
    config = make_config(models=["ridge", "gbdt"])
    document = comparison_document(config, "snapshots/run_id=r1/", jobs, COUNTS, baselines, TABLES)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["generated_at"], document["run_id"]) == ("2026-03-05T00:00:00+00:00", "r1")
    assert document["snapshot_prefix"] == "snapshots/run_id=r1/"
    assert document["model_families"] == ["ridge", "gbdt"]
    assert (document["rows_count"], document["missing_jobs_count"]) == (8, 2)
    assert document["missing_jobs"] == missing_jobs(jobs) == ["sum_pool_7d.ridge", "sum_pool_30d.gbdt"]
    assert document["best_by_rank_metric"]["7"]["model"] == "gbdt"
    assert names([document["best_by_mae_log"]["7"]]) == [(7, "sum_pool", "gbdt")]
    assert len(document["rows"]) == 8
    assert document["common_rows"] == {"7": {"val": 30, "test": 20}}
    assert document["baselines"]["30"] == []
    (row,) = document["baselines"]["7"]
    assert (row["model"], row["common_test_rmse_log"], row["intervals"]["test"]["rmse_log"]) == (
        "train_mean",
        3.0,
        [1.0, 2.0],
    )
    assert document["lead"] == {"7": None, "30": None}  # these rows are all ties of a best that is not among them
    assert document["tables"] == {"modalities": {"version": 3, "id": "m"}}


def test_document_says_by_what_its_rows_are_ranked_and_who_leads_each_horizon(jobs, make_config):
    best = replace(jobs[1], common=replace(jobs[1].common, standing=Standing.BEST))
    config = make_config(rank_metric="val_mae_log", lead_among_ties="cheapest")
    checks = [{"fusion_strategy": "concat", "target_horizon_days": 7, "optimism_percent": 3.0}]
    document = comparison_document(config, "p/", [best, *jobs[:1], *jobs[2:]], COUNTS, {}, TABLES, checks)
    assert (document["rank_metric"], document["difference_metric"]) == ("val_mae_log", "test_mae_log")
    assert document["lead_among_ties"] == "cheapest"
    assert document["lead"]["30"] is None  # none of its jobs is marked as the best
    assert (document["lead"]["7"]["model"], document["lead"]["7"]["ties"]) == ("ridge", 2)
    assert document["temporal_checks"] == checks


def test_best_document_agrees_with_the_comparison_whatever_the_rank_metric(jobs, make_config):
    config = make_config(rank_metric="val_r2_log")
    best = best_by_mae_log_document(config, "p/", jobs)
    assert best["best_by_mae_log"] == comparison_document(config, "p/", jobs, COUNTS, {}, TABLES)["best_by_mae_log"]
    assert (best["metric"], best["snapshot_prefix"], best["run_id"]) == ("val_mae_log", "p/", "r1")
