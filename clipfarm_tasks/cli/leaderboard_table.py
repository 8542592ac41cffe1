"""A run's leaderboard as a table for the terminal."""

from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any

from rich import box
from rich.table import Table

_WHOLE_FROM = 1000  # raw views need no decimals
_JUDGED = ("test_rmse_log", "test_r2_log")  # beside the metric that ranks: fit 80 columns; the file has them all
_STANDING = {"tie": "=", "better": "+"}


def leaderboard_table(comparison: Mapping[str, Any]) -> Table:
    """One line for each job in the order of the file, the metric that ranks as the first number, dashes if missing.

    The numbers are those on the videos that all jobs of a horizon were judged on; the caption counts them. Beside the
    test RMSE stands its 95 % interval; a job that cannot be told from the best of its horizon, or is surely better on
    the test part, is marked; skill is what a model saves of the error of the best naive guess. The baselines end each
    horizon.

    Args:
        comparison: content of ``metrics_comparison.json``.
    """
    rank_metric = str(comparison["rank_metric"])
    metrics = [rank_metric, *_JUDGED]
    missing = comparison["missing_jobs_count"]
    table = Table(
        title=f"Run {comparison['run_id']}\n{comparison['rows_count'] - missing} jobs finished, {missing} missing",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        caption=f"Judged on the videos that all jobs of a horizon have: {_counts(comparison)}\n"
        "= cannot be told from the first, + is surely better on the test part, no mark: surely worse, or nobody knows\n"
        "95 %: of test rmse_log; skill: error saved against the best naive guess"
        + "".join(f"\n{line}" for line in _leakage(comparison)),
        caption_justify="left",
        pad_edge=False,
        collapse_padding=True,
    )
    for name in ("days", "model", "strategy"):
        table.add_column(name, no_wrap=True)
    for name in metrics:
        # Two lines, so that the table fits 80 columns: "val" over "rmse_log".
        heading = name.replace("_", "\n", 1)
        table.add_column(heading, justify="right", no_wrap=True, style="bold" if name == rank_metric else None)
    table.add_column("test\n95 %", justify="right", no_wrap=True)
    table.add_column("skill  ", justify="right", no_wrap=True)
    for horizon, rows in groupby(comparison["rows"], key=itemgetter("target_horizon_days")):
        for row in rows:
            table.add_row(str(horizon), row["model_family"], row["fusion_strategy"], *_cells(row, metrics))
        for row in comparison.get("baselines", {}).get(str(horizon), ()):
            table.add_row("", row["model"], "", *_cells(row, metrics), style="dim")
        table.add_section()
    return table


def _cells(row: Mapping[str, Any], metrics: list[str]) -> list[str]:
    interval = ((row.get("intervals") or {}).get("test") or {}).get("rmse_log")
    skill = row.get("skill")
    return [
        *(_number(row.get(f"common_{name}", row.get(name))) for name in metrics),
        "-" if interval is None else f"{interval[0]:.2f}-{interval[1]:.2f}",
        f"{'-' if skill is None else f'{skill:.0%}'} {_STANDING.get(row.get('against_best') or '', ' ')}",
    ]


def _counts(comparison: Mapping[str, Any]) -> str:
    """Of a run of an earlier release, whose jobs may have been judged on other videos each, nothing is known."""
    common_rows = comparison.get("common_rows")
    if common_rows is None:
        return "unknown, strategies may differ"
    return "; ".join(f"{days}d {rows['val']} val, {rows['test']} test" for days, rows in common_rows.items())


def _leakage(comparison: Mapping[str, Any]) -> list[str]:
    """A line for each horizon that was probed, and one for each finding that is not clean."""
    lines = []
    for days, findings in comparison.get("leakage", {}).items():
        unclean = [finding for finding in findings if finding["verdict"] != "clean"]
        lines.append(f"Leakage probes {days}d: {len(findings) - len(unclean)} of {len(findings)} clean")
        lines += [f"  {finding['verdict']}, {finding['probe']}: {finding['says']}" for finding in unclean]
    return lines


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < _WHOLE_FROM else f"{value:,.0f}"
