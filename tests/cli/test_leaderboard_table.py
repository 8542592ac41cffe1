import io
from itertools import pairwise

from rich.console import Console

from clipfarm_tasks.cli.leaderboard_table import leaderboard, leaderboard_table

METRICS = [
    f"{part}_{name}" for part in ("val", "test") for name in ("rmse_log", "mae_log", "r2_log", "rmse_raw", "mae_raw")
]


def row(family, days, value, **other):
    return {
        "model_family": family,
        "fusion_strategy": "concat",
        "target_horizon_days": days,
        **dict.fromkeys(METRICS, -1.0),
        **{f"common_{name}": value for name in METRICS},
        **other,
    }


def rendered(rank_metric="val_rmse_log"):
    rows = [row("gbdt", 7, 0.5, common_val_mae_raw=12345.6), row("gated_fusion_mlp", 7, 0.75), row("ridge", 30, None)]
    output = io.StringIO()
    common_rows = {"7": {"val": 15, "test": 14}, "30": {"val": 0, "test": 0}}
    counts = {"rows_count": 3, "missing_jobs_count": 1, "common_rows": common_rows}
    table = leaderboard_table({"run_id": "r1", "rank_metric": rank_metric, "rows": rows} | counts)
    Console(file=output, width=80).print(table)
    return output.getvalue()


def test_every_job_is_a_whole_line_in_the_order_of_the_file():
    lines = [line.split() for line in rendered("val_mae_raw").splitlines() if "concat" in line]
    assert [(line[0], line[1]) for line in lines] == [("7", "gbdt"), ("7", "gated_fusion_mlp"), ("30", "ridge")]
    assert lines[0][3:] == ["12,346", "0.500", "0.500", "-", "-"]
    assert lines[2][3:] == ["-"] * 5


def test_ties_intervals_skill_and_baselines_are_shown():
    sure = {"intervals": {"test": {"rmse_log": [1.804, 2.046]}}, "skill": 0.314, "against_best": "tie"}
    rows = [row("gbdt", 7, 1.9, **sure), row("gated_fusion_mlp", 7, 2.5, **sure | {"against_best": "better"})]
    mean = {"model": "ridge_log_counts", **row("", 7, 2.8), **sure, "skill": -0.03, "against_best": None}
    output = io.StringIO()
    counts = {"run_id": "r1", "rank_metric": "val_rmse_log", "rows_count": 2, "missing_jobs_count": 0}
    Console(file=output, width=80).print(leaderboard_table({"rows": rows, "baselines": {"7": [mean]}} | counts))
    lines = [line.split() for line in output.getvalue().splitlines() if "1.80-2.05" in line]
    assert lines == [
        ["7", "gbdt", "concat", "1.900", "1.900", "1.900", "1.80-2.05", "31%", "="],
        ["7", "gated_fusion_mlp", "concat", "2.500", "2.500", "2.500", "1.80-2.05", "31%", "+"],
        ["ridge_log_counts", "2.800", "2.800", "2.800", "1.80-2.05", "-3%"],
    ]


def test_who_leads_is_told_in_one_line_for_each_horizon():
    lead = {
        "fusion_strategy": "max_pool",
        "model": "gated_fusion_mlp",
        "ties": 11,
        "why": "cheapest to serve",
    }
    output = io.StringIO()
    counts = {"run_id": "r1", "rank_metric": "val_rmse_log", "rows_count": 1, "missing_jobs_count": 0}
    table = leaderboard_table({"rows": [row("gbdt", 30, 1.9)], "lead": {"7": None, "30": lead}} | counts)
    Console(file=output, width=80).print(table)
    text = " ".join(output.getvalue().split())
    assert "30d: max_pool gated_fusion_mlp leads; 11 ties; cheapest to serve" in text
    assert "7d:" not in text


def test_the_title_counts_finished_and_missing_jobs():
    assert "Run r1" in rendered()
    assert "2 jobs finished, 1 missing" in rendered()


def test_the_caption_counts_the_videos_it_is_about():
    assert "7d 15 val, 14 test; 30d 0 val, 0 test" in " ".join(rendered().split())


def test_a_run_of_an_earlier_release_is_shown_by_the_metrics_it_has():
    rows = [{name: value for name, value in row("ridge", 7, 0.5).items() if not name.startswith("common_")}]
    output = io.StringIO()
    counts = {"run_id": "r1", "rank_metric": "val_rmse_log", "rows_count": 1, "missing_jobs_count": 0}
    Console(file=output, width=80).print(leaderboard_table({"rows": rows} | counts))
    assert "-1.000" in output.getvalue()
    assert "unknown, strategies may differ" in " ".join(output.getvalue().split())


def test_the_metric_that_ranks_is_the_first_one():
    parts, names = next(pair for pair in pairwise(rendered("val_mae_raw").splitlines()) if "strategy" in pair[1])
    assert (parts.split()[0], names.split()[3]) == ("val", "mae_raw")


def test_the_worst_slices_of_the_best_models_follow_within_80_columns():
    found = {"dimension": "query", "slice": "[bold] and a very long search for something", "n": 63, "rmse_log": 2.3456}
    worst = {"7": [{**found, "rmse_log_interval": [1.98, 2.71]}, {**found, "rmse_log_interval": None}]}
    best = {"7": row("gated_fusion_mlp", 7, 1.9, model="gated_fusion_mlp")}
    counts = {"run_id": "r1", "rank_metric": "val_rmse_log", "rows_count": 1, "missing_jobs_count": 0}
    document = counts | {"rows": [row("gbdt", 7, 1.9)], "best_by_rank_metric": best, "worst_slices": worst}
    output = io.StringIO()
    Console(file=output, width=80).print(leaderboard(document))
    lines = [line for line in output.getvalue().splitlines() if "query=" in line]
    assert [line.split()[:2] for line in lines] == [["7", "gated_fusion_mlp"]] * 2
    assert "query=[bold] and a very" in lines[0]
    assert [line.split()[-3:] for line in lines] == [["63", "2.346", "1.98-2.71"], ["63", "2.346", "-"]]
    del document["worst_slices"]
    before = output.getvalue().split("\nSlices")[0]
    output.truncate(0)
    output.seek(0)
    Console(file=output, width=80).print(leaderboard(document))
    assert output.getvalue().strip() == before.strip()


def test_findings_of_the_probes_are_told_unless_they_are_clean():
    findings = [
        {"probe": "twins", "verdict": "clean", "says": "expected few twins"},
        {"probe": "single_feature", "verdict": "leak", "says": "expected no feature, got likes"},
    ]
    output = io.StringIO()
    counts = {"run_id": "r1", "rank_metric": "val_rmse_log", "rows_count": 1, "missing_jobs_count": 0}
    document = counts | {"rows": [row("gbdt", 7, 1.0)], "leakage": {"7": findings}}
    Console(file=output, width=80).print(leaderboard_table(document))
    assert "Leakage probes 7d: 1 of 2 clean" in output.getvalue()
    assert "leak, single_feature: expected no feature, got likes" in " ".join(output.getvalue().split())
    assert "few twins" not in output.getvalue()
    findings[1]["says"] = "got 1 in 1 (video [/bold])"
    Console(file=output, width=80).print(leaderboard_table(document))
    assert "(video [/bold])" in output.getvalue()
    assert "Leakage" not in rendered()
