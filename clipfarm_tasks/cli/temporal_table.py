"""What the temporal checks of a run's pairs say, as a table for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text


def temporal_table(checks: Sequence[Mapping[str, Any]]) -> Table:
    """One line for each pair: the best family on the future and on the run's own test part, or why it was not checked.

    Args:
        checks: ``temporal_checks`` of ``metrics_comparison.json``.
    """
    table = Table(
        title="Best family of each pair, trained on the past and tested on the future",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        caption=Text("\n".join(_skipped(checks))),  # Text, because a reason may quote what looks like markup
        caption_justify="left",
        pad_edge=False,
        collapse_padding=True,
    )
    for name in ("pair", "model"):
        table.add_column(name, no_wrap=True)
    answered = [check for check in checks if not check["skipped"]]
    split = answered[0]["split_strategy"] if answered else ""
    for name in ("future\nrmse", "\n95 %", "\nskill", f"{split}\nrmse", "\nskill", "worse\nby"):
        table.add_column(name, justify="right", no_wrap=True)
    for check in answered:
        table.add_row(_pair(check), check["family"], *_cells(check))
    return table


def _pair(check: Mapping[str, Any]) -> str:
    return f"{check['fusion_strategy']} {check['target_horizon_days']}d"


def _cells(check: Mapping[str, Any]) -> list[str]:
    future, own = check["future_test"], check["own_test"]
    within = future["intervals"]["rmse_log"]
    return [
        _number(future["rmse_log"], ".2f"),
        "-" if within is None else f"{within[0]:.2f}-{within[1]:.2f}",
        _number(future["skill"], ".0%"),
        _number(own["rmse_log"], ".2f"),
        _number(own["skill"], ".0%"),
        "-" if check["optimism_percent"] is None else f"{check['optimism_percent']:.0f}%",
    ]


def _skipped(checks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each reason once, with the pairs it is about."""
    reasons: dict[str, list[str]] = {}
    for check in checks:
        if check["skipped"]:
            reasons.setdefault(check["skipped"], []).append(_pair(check))
    return [f"{', '.join(pairs)}: not checked, {reason}" for reason, pairs in reasons.items()]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
