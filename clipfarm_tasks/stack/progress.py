"""What a run's tasks are doing: a live table in a terminal, one line per change elsewhere."""

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from clipfarm_tasks.families import Horizon, Strategy
from clipfarm_tasks.stack.airflow_client import TaskState

FINISHED = frozenset({"success", "skipped", "failed", "upstream_failed", "removed"})
FAILED = frozenset({"failed", "upstream_failed"})
_VARIANTS = "|".join([*Strategy, *(f"{horizon}d" for horizon in Horizon)])
_VARIANT = re.compile(rf"_(?:{_VARIANTS})$")
_BAR_WIDTH = 12
_FIRST = (
    "resolve_run",
    "scan_metadata",
    "filter_metadata",
    "split_videos",
    "resolve_manifest",
    "reconstruct_fused",
    "reconstruct_modalities",
    "baselines",
)
_LAST = ("leaderboard", "gate")
_NAMED = {"running": "yellow", "failed": "red", "up_for_retry": "magenta"}
_COUNTED = {"skipped": "skipped", "upstream_failed": "not run, an earlier task failed"}


def group_of(task_id: str) -> str:
    """Line a task is shown on: its task group, else its step.

    Examples:
        >>> group_of("concat_7d.train_ridge"), group_of("filter_metadata_30d"), group_of("gate")
        ('concat_7d', 'filter_metadata', 'gate')
    """
    group, dot, _ = task_id.partition(".")
    return group if dot else _VARIANT.sub("", task_id)


class TaskProgress:
    """Shows the tasks of one run on a console, for the length of a ``with`` block."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        """Show on ``console``; ``clock`` tells seconds."""
        self._console = console
        self._clock = clock
        self._began = clock()
        self._states: dict[str, str] = {}
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        """Start the live display, if there is a terminal."""
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last state on the screen."""
        if self._live:
            self._live.stop()

    def show(self, tasks: Sequence[TaskState]) -> None:
        """Show the tasks as they are now."""
        if self._live:
            self._live.update(self.table(tasks), refresh=True)
            return
        for line in self.changes(tasks):
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def changes(self, tasks: Sequence[TaskState]) -> list[str]:
        """One line for each task whose state is another than at the last call, waiting tasks left out."""
        finished = sum(task.state in FINISHED for task in tasks)
        lines = []
        for task in tasks:
            state = task.state or "waiting"
            if state in {self._states.get(task.task_id), "waiting", "scheduled", "queued"}:
                continue
            self._states[task.task_id] = state
            took = f" in {task.seconds:.1f} s" if task.seconds and state in FINISHED else ""
            lines.append(f"{self._elapsed():>7}  {finished:>2}/{len(tasks)}  {task.task_id}: {state}{took}")
        return lines

    def table(self, tasks: Sequence[TaskState]) -> Table:
        """One line for each group: a bar, finished and all tasks, what runs and what failed."""
        groups: dict[str, list[TaskState]] = {}
        for task in tasks:
            groups.setdefault(group_of(task.task_id), []).append(task)
        finished = sum(task.state in FINISHED for task in tasks)
        table = Table(title=f"{finished} of {len(tasks)} tasks, {self._elapsed()}", box=None, title_justify="left")
        for name in ("", "", "", "now"):
            table.add_column(name, no_wrap=True)
        for group, members in sorted(groups.items(), key=lambda item: _place(item[0])):
            done = sum(task.state in FINISHED for task in members)
            table.add_row(group, _bar(done, len(members)), f"{done}/{len(members)}", _summary(group, members))
        return table

    def _elapsed(self) -> str:
        minutes, seconds = divmod(int(self._clock() - self._began), 60)
        return f"{minutes}:{seconds:02d}"


def _place(group: str) -> tuple[int, str]:
    """Lines follow the graph, whatever order the API lists the tasks in; groups of jobs are in the middle."""
    if group in _LAST:
        return len(_FIRST) + 1 + _LAST.index(group), ""
    return (_FIRST.index(group), "") if group in _FIRST else (len(_FIRST), group)


def _bar(done: int, total: int) -> str:
    filled = round(_BAR_WIDTH * done / total)
    return f"[green]{'━' * filled}[/green][dim]{'━' * (_BAR_WIDTH - filled)}[/dim]"


def _summary(group: str, tasks: Sequence[TaskState]) -> str:
    named: dict[str, list[str]] = {}
    for task in tasks:
        if task.state in _NAMED:
            named.setdefault(task.state, []).append(task.task_id.removeprefix(f"{group}."))
    counts = Counter(task.state for task in tasks)
    return "  ".join(
        [f"[{_NAMED[state]}]{state.replace('_', ' ')}: {', '.join(names)}[/]" for state, names in named.items()]
        + [f"{counts[state]} {text}" for state, text in _COUNTED.items() if counts[state]]
    )
