"""The command ``run``: resolve, run all tasks with a progress bar, show the leaderboard, tell the exit code."""

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from clipfarm_tasks import keys
from clipfarm_tasks.cli.leaderboard_table import leaderboard
from clipfarm_tasks.config import Settings
from clipfarm_tasks.errors import ClipfarmError, MissingObjectError
from clipfarm_tasks.graph import Task, tasks_of
from clipfarm_tasks.pipeline import Outcome, State, run_tasks
from clipfarm_tasks.steps.context import load_config
from clipfarm_tasks.steps.leaderboard import COMPARISON_JSON
from clipfarm_tasks.steps.resolve_run import resolve_run
from clipfarm_tasks.storage import Store, open_store

GATE = keys.task_id("gate")


def run_pipeline(
    settings: Settings, values: Mapping[str, Any], source_run_id: str, workers: int, console: Console
) -> int:
    """Run a whole run; returns the exit code: 0 when every requested job has its snapshot, else the gravest error's.

    Raises:
        ClipfarmError: the run could not be resolved.
    """
    store = open_store(settings)
    record = resolve_run(store, values, source_run_id)
    asked = keys.safe_run_id(source_run_id)
    if record.run_id != asked:
        console.print(
            f"run {asked} exists with other params, inputs or code: this one is {record.run_id}", soft_wrap=True
        )
    console.print(f"run {record.run_id}, config {record.digest[:12]}, {store.uri(record.config_key)}", soft_wrap=True)
    params = load_config(store, record.run_id).params
    total = len(tasks_of(params))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        view = _View(progress, total)
        outcome = run_tasks(settings, record.run_id, params, workers, view.observe)
    _show(store, record.run_id, console)
    if outcome.errors:
        console.print(f"failed: {', '.join(outcome.errors)}", style="red", markup=False, soft_wrap=True)
    if outcome.complete:
        console.print(f"snapshots: {store.uri(keys.snapshots_prefix(record.run_id))}", soft_wrap=True)
    return _exit_code(outcome)


class _View:
    """One progress bar over all tasks, with the names of those that run; one line for each that ends badly."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._running: list[str] = []
        self._bar = progress.add_task("", total=total)

    def observe(self, task: Task, state: State, message: str) -> None:
        """Take note of a task's new state."""
        if state is State.RUNNING:
            self._running.append(task.id)
        else:
            if task.id in self._running:
                self._running.remove(task.id)
            self._progress.advance(self._bar)
        if state in (State.FAILED, State.UPSTREAM_FAILED):
            self._progress.console.print(f"{task.id}: {state} {message}", style="red", markup=False, soft_wrap=True)
        self._progress.update(self._bar, description=", ".join(self._running) or "done")


def _show(store: Store, run_id: str, console: Console) -> None:
    try:
        document = json.loads(store.get(f"{keys.comparison(run_id)}{COMPARISON_JSON}"))
    except MissingObjectError:
        return
    console.print(leaderboard(document))


def _exit_code(outcome: Outcome) -> int:
    if outcome.complete:
        return 0
    # The gate only repeats that something is missing: whether a retry may help is told by what went wrong before it.
    causes = [error for task, error in outcome.errors.items() if task != GATE] or list(outcome.errors.values())
    codes = [error.exit_code for error in causes if isinstance(error, ClipfarmError)]
    return max(codes, default=ClipfarmError.exit_code)
