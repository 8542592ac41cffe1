"""Command line of the benchmark: ``python -m bench`` measures, ``python -m bench readme`` prints the newest report."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.plan import FULL, QUICK
from bench.report import markdown, terminal_table
from bench.result import RESULTS, Report, newest, partial, read_report, write_report
from clipfarm_tasks.errors import ClipfarmError
from clipfarm_tasks.stack.interrupts import Interrupted, interruptible
from clipfarm_tasks.stack.state_folder import STATE, claimed, empty

app = typer.Typer(help="Measure the data path on this machine.", add_completion=False)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    only: Annotated[list[str] | None, typer.Option(help="Measure only this row; may be given more than once.")] = None,
    quick: Annotated[bool, typer.Option(help="Tiny sizes: shows that the rows work, its figures say nothing.")] = False,
    output: Annotated[Path | None, typer.Option(help="Where to write the report as JSON.")] = None,
    state: Annotated[Path, typer.Option(help="Folder for the servers' data; emptied at the end.")] = STATE / "bench",
) -> None:
    """Measure every row (minutes), print the table, and write bench/results/<date>.json; exit code 1 if a row failed.

    While it is measured the report is in <date>.json.partial, which stays where it breaks off. A part of the rows, or
    tiny sizes, are only printed unless --output says where to write them.
    """
    if context.invoked_subcommand is not None:
        return
    from bench.measure import measure  # here, not above: seconds of imports that printing a report need not pay

    def keep(report: Report) -> None:
        if path is not None:
            write_report(report, partial(path))

    console = Console()
    path = output or (None if only or quick else RESULTS / f"{datetime.now(UTC):%Y-%m-%d}.json")
    try:
        with interruptible(), claimed(state, fresh=True) as folder:
            try:
                report = measure(folder, QUICK if quick else FULL, only or [], console, keep)
            finally:
                empty(folder)
    except Interrupted as signal:
        typer.echo(f"{signal}: stopped, nothing is left running", err=True)
        raise typer.Exit(signal.exit_code) from None
    except ClipfarmError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
    console.print(terminal_table(report))
    if path is not None:
        partial(path).replace(path)
        console.print(f"Written to {path}", highlight=False, soft_wrap=True)
    if report.failed:
        raise typer.Exit(1)


@app.command()
def readme() -> None:
    """Print the newest report as the README shows it."""
    path = newest()
    if path is None:
        typer.echo(f"error: expected a report in {RESULTS}, got none: run make bench", err=True)
        raise typer.Exit(2)
    sys.stdout.write(markdown(read_report(path)))


if __name__ == "__main__":
    app()
