"""A run's leaderboard as a table for the terminal."""

from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from clipfarm_tasks.cli.temporal_table import temporal_table

_WHOLE_FROM = 1000  # raw views need no decimals
_JUDGED = ("test_rmse_log", "test_r2_log")  # beside the metric that ranks: fit 80 columns; the file has them all
_WIDEST_SLICE = 24  # the table then fits 80 columns
_STANDING = {"tie": "=", "better": "+"}


def leaderboard(comparison: Mapping[str, Any]) -> Group:
    """All that ``show`` prints of a run: its jobs, what became of them in the future, and where the best are weakest.

    Of a run of an earlier release only what it has written.
    """
    parts = [leaderboard_table(comparison)]
    if comparison.get("temporal_checks"):
        parts.append(temporal_table(comparison["temporal_checks"]))
    if comparison.get("worst_slices"):
        parts.append(worst_slices_table(comparison))
    return Group(*parts)


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
        # Text, because names of videos and features may look like markup.
        caption=Text(
            f"Judged on the videos that all jobs of a horizon have: {_counts(comparison)}\n"
            "= cannot be told from the first, + is surely better on the test part, no mark: surely worse, or nobody "
            "knows\n95 %: of test rmse_log; skill: error saved against the best naive guess"
            + _leads(comparison)
            + "".join(f"\n{line}" for line in _leakage(comparison))
        ),
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


def worst_slices_table(comparison: Mapping[str, Any]) -> Table:
    """Where the best model of each horizon errs most on the test part.

    Args:
        comparison: content of ``metrics_comparison.json``.
    """
    table = Table(
        title="Slices on which the best model of each horizon errs most (test part)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("days", no_wrap=True)
    table.add_column("model", no_wrap=True)
    table.add_column("slice", no_wrap=True, max_width=_WIDEST_SLICE)
    for name in ("videos", "rmse_log", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    for days, slices in comparison["worst_slices"].items():
        best = comparison["best_by_rank_metric"][days]
        for found in slices:
            name = f"{found['dimension']}={found['slice']}"
            numbers = (str(found["n"]), _number(found["rmse_log"]), _interval(found["rmse_log_interval"]))
            table.add_row(days, best["model"], Text(name), *numbers)
        table.add_section()
    return table


def _interval(within: list[float] | None) -> str:
    return "-" if within is None else f"{within[0]:.2f}-{within[1]:.2f}"


def _cells(row: Mapping[str, Any], metrics: list[str]) -> list[str]:
    interval = ((row.get("intervals") or {}).get("test") or {}).get("rmse_log")
    skill = row.get("skill")
    return [
        *(_number(row.get(f"common_{name}", row.get(name))) for name in metrics),
        _interval(interval),
        f"{'-' if skill is None else f'{skill:.0%}'} {_STANDING.get(row.get('against_best') or '', ' ')}",
    ]


def _leads(comparison: Mapping[str, Any]) -> str:
    """A line for each horizon that has a lead; none of a run of an earlier release."""
    return "".join(
        f"\n{days}d: {lead['fusion_strategy']} {lead['model']} leads; {lead['ties']} ties; {lead['why']}"
        for days, lead in comparison.get("lead", {}).items()
        if lead is not None
    )


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
