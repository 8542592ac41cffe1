"""Command line of the local stack: ``python -m clipfarm_tasks.stack demo`` and ``up``."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from clipfarm_tasks.errors import ClipfarmError
from clipfarm_tasks.stack import demo as demo_command
from clipfarm_tasks.stack import up as up_command
from clipfarm_tasks.stack.interrupts import Interrupted, interruptible
from clipfarm_tasks.stack.patience import STALLED_AFTER_S
from clipfarm_tasks.stack.state_folder import STATE, claimed

app = typer.Typer(help="A real S3 server and Airflow on this machine.", no_args_is_help=True, add_completion=False)

Videos = Annotated[int, typer.Option(min=100, help="Videos in the synthetic bucket.")]
State = Annotated[Path, typer.Option(help="Folder that holds everything the servers write.")]


@app.command()
def demo(
    videos: Videos = 2000,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="Minutes without a change of any task's state that end the run.")
    ] = STALLED_AFTER_S / 60,
    state: State = STATE / "demo",
) -> None:
    """Train all models on a synthetic bucket through Airflow and print the leaderboard."""
    console = Console()
    _serve(state, True, lambda folder: demo_command.demo(folder, console, videos, minutes * 60))


@app.command()
def up(videos: Videos = 2000, state: State = STATE / "up") -> None:
    """Start S3 and Airflow and keep them up until Ctrl-C; the state is kept for the next time."""
    console = Console()
    _serve(state, False, lambda folder: up_command.up(folder, console, videos), interrupted=0)


def _serve(state: Path, fresh: bool, body: Callable[[Path], None], interrupted: int | None = None) -> None:
    """Run a command in its claimed folder; an error or a signal ends it with a sentence and an exit status.

    ``interrupted`` is the exit status after a signal, where that is how the command normally ends.
    """
    try:
        with interruptible(), claimed(state, fresh=fresh) as folder:
            body(folder)
    except Interrupted as signal:
        typer.echo(f"{signal}: stopped, nothing is left running", err=True)
        raise typer.Exit(signal.exit_code if interrupted is None else interrupted) from None
    except ClipfarmError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from error


if __name__ == "__main__":
    app()
