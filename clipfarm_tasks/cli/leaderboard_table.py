"""A run's leaderboard as a table for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

_WHOLE_FROM = 1000  # raw views need no decimals
_METRICS = ("val_rmse_log", "val_r2_log", "test_rmse_log", "test_r2_log")  # fit 80 columns; the file has them all


def leaderboard_table(comparison: Mapping[str, Any]) -> Table:
    """One line for each job in the order of the file, the metric that ranks as the first number, dashes if missing.

    The numbers are those on the videos that all jobs of a horizon were judged on; the caption counts them.

    Args:
        comparison: content of ``metrics_comparison.json``.
    """
    rank_metric = str(comparison["rank_metric"])
    metrics = [rank_metric, *(name for name in _METRICS if name != rank_metric)]
    missing = comparison["missing_jobs_count"]
    table = Table(
        title=f"Run {comparison['run_id']}\n{comparison['rows_count'] - missing} jobs finished, {missing} missing",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        caption=f"Judged on the videos that all jobs of a horizon have: {_counts(comparison)}",
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
    horizon = None
    for row in comparison["rows"]:
        if horizon not in {None, row["target_horizon_days"]}:
            table.add_section()
        horizon = row["target_horizon_days"]
        table.add_row(
            str(horizon),
            row["model_family"],
            row["fusion_strategy"],
            *(_number(row.get(f"common_{name}", row[name])) for name in metrics),
        )
    return table


def _counts(comparison: Mapping[str, Any]) -> str:
    """Of a run of an earlier release, whose jobs may have been judged on other videos each, nothing is known."""
    common_rows = comparison.get("common_rows")
    if common_rows is None:
        return "unknown, strategies may differ"
    return "; ".join(f"{days}d {rows['val']} val, {rows['test']} test" for days, rows in common_rows.items())


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < _WHOLE_FROM else f"{value:,.0f}"
