"""The command ``rebuild``: are the training data of a past run still what its jobs were trained on?"""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from clipfarm_tasks.config import Settings
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Family, Horizon, Strategy
from clipfarm_tasks.steps.rebuild import Rebuilt, Verdict, rebuild
from clipfarm_tasks.storage import open_store

_STYLES = {Verdict.EQUAL: "green", Verdict.NO_SNAPSHOT: "yellow"}


def rebuild_run(
    settings: Settings,
    run_id: str,
    strategy: Strategy | None,
    horizon: Horizon | None,
    family: Family | None,
    output: Path | None,
    console: Console,
) -> int:
    """Rebuild and tell; returns the exit code: 0 if everything asked for is equal, else that of a `DataError`.

    Raises:
        ClipfarmError: the run is unknown or the selection is not part of it, or the server cannot be reached.
    """
    results = rebuild(open_store(settings), settings, run_id, strategy, horizon, family, output)
    equal = sum(result.verdict is Verdict.EQUAL for result in results)
    headline = f"run {run_id}: the training data of {equal} of {len(results)} jobs equal those recorded"
    console.print(headline, markup=False, soft_wrap=True)
    console.print(rebuilt_table(results))
    for detail in dict.fromkeys(result.detail for result in results if result.detail):
        console.print(detail, style="red", markup=False, soft_wrap=True)
    if output is not None and any(output.iterdir()):
        console.print(f"matrices: {output}", markup=False, soft_wrap=True)
    return 0 if equal == len(results) else DataError.exit_code


def rebuilt_table(results: Sequence[Rebuilt]) -> Table:
    """One line for each job."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("days", "model", "strategy", "training data"):
        table.add_column(name, no_wrap=True)
    for result in results:
        style = _STYLES.get(result.verdict, "red")
        table.add_row(str(int(result.horizon)), result.family, result.strategy, f"[{style}]{result.verdict}[/]")
    return table
