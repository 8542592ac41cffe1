import io

from rich.console import Console

from clipfarm_tasks.cli.leaderboard_table import leaderboard


def check(strategy, **other):
    test = {"rmse_log": 2.0123, "skill": 0.25, "intervals": {"rmse_log": [1.931, 2.104]}}
    return {
        "target_horizon_days": 30,
        "fusion_strategy": strategy,
        "family": "gated_fusion_mlp",
        "split_strategy": "random",
        "skipped": None,
        "future_test": test,
        "own_test": test | {"rmse_log": 1.95, "skill": 0.31},
        "optimism_percent": 3.195,
        **other,
    }


def rendered(**document):
    output = io.StringIO()
    counts = {"run_id": "r1", "rank_metric": "val_rmse_log", "rows_count": 0, "missing_jobs_count": 0, "rows": []}
    Console(file=output, width=80).print(leaderboard(counts | document))
    return output.getvalue()


def test_the_future_stands_beside_the_runs_own_test():
    (line,) = (line.split() for line in rendered(temporal_checks=[check("max_pool")]).splitlines() if "gated" in line)
    assert line == ["max_pool", "30d", "gated_fusion_mlp", "2.01", "1.93-2.10", "25%", "1.95", "31%", "3%"]


def test_numbers_that_nobody_knows_are_dashes():
    unknown = {"rmse_log": 2.0, "skill": None, "intervals": {"rmse_log": None}}
    text = rendered(temporal_checks=[check("concat", future_test=unknown, optimism_percent=None)])
    (line,) = (line.split() for line in text.splitlines() if "gated" in line)
    assert line[3:] == ["2.00", "-", "-", "1.95", "31%", "-"]


def test_why_there_is_no_check_is_told_once_for_all_pairs_it_is_about():
    skipped = {"skipped": "the split is chronological"}
    text = " ".join(rendered(temporal_checks=[check(name, **skipped) for name in ("concat", "max_pool")]).split())
    assert "concat 30d, max_pool 30d: not checked, the split is chronological" in text


def test_a_run_without_checks_has_no_such_table():
    assert "past" not in rendered() + rendered(temporal_checks=[])
