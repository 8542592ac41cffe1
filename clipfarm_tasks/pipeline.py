"""One run without Airflow: the same steps in parallel processes, each task as soon as what it needs has succeeded."""

import logging
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from enum import StrEnum

from clipfarm_tasks.config import RunParams, Settings
from clipfarm_tasks.errors import ClipfarmError, TransientError
from clipfarm_tasks.graph import Task, tasks_of


class State(StrEnum):
    """What became of a task."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    UPSTREAM_FAILED = "upstream_failed"


Observer = Callable[[Task, State, str], None]


@dataclass
class Outcome:
    """End states by task id, and the error sentence of each failed task."""

    states: dict[str, State] = field(default_factory=dict)
    errors: dict[str, ClipfarmError | Exception] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every task succeeded, the gate included."""
        return all(state is State.SUCCESS for state in self.states.values())


def run_tasks(settings: Settings, run_id: str, params: RunParams, workers: int, observe: Observer) -> Outcome:
    """Run all tasks of a resolved run with ``workers`` processes; ``observe`` is told every change of state.

    A process that is killed takes the tasks of its pool with it: they fail, and a new pool goes on with the others.
    """
    waiting = tasks_of(params)
    outcome = Outcome()
    while waiting:
        waiting = _run_in_one_pool(waiting, outcome, settings, run_id, workers, observe)
    return outcome


def _run_in_one_pool(
    waiting: list[Task], outcome: Outcome, settings: Settings, run_id: str, workers: int, observe: Observer
) -> list[Task]:
    """Run until nothing is left or the pool breaks; returns the tasks that were not started."""
    running: dict[Future[None], Task] = {}
    # Spawned, not forked: torch and obstore have threads, which do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_quiet) as pool:
        while waiting or running:
            waiting = _start(waiting, outcome, running, pool, settings, run_id, observe)
            if not running:
                continue
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            broken = any(isinstance(future.exception(), BrokenProcessPool) for future in done)
            for future in list(running) if broken else done:
                _finish(running.pop(future), future, outcome, observe)
            if broken:
                return waiting
    return waiting


def _start(
    waiting: list[Task],
    outcome: Outcome,
    running: dict[Future[None], Task],
    pool: ProcessPoolExecutor,
    settings: Settings,
    run_id: str,
    observe: Observer,
) -> list[Task]:
    """Hand out the tasks that can run, settle those that cannot any more; returns the others."""
    left = []
    for task in waiting:
        needs = [outcome.states.get(name) for name in task.needs]
        ended = all(outcome.states.get(name) not in (None, State.RUNNING) for name in (*task.needs, *task.after))
        if any(state in (State.FAILED, State.UPSTREAM_FAILED) for state in needs):
            outcome.states[task.id] = State.UPSTREAM_FAILED
            observe(task, State.UPSTREAM_FAILED, "")
        elif ended:
            outcome.states[task.id] = State.RUNNING
            observe(task, State.RUNNING, "")
            running[_submit(pool, task, settings, run_id)] = task
        else:
            left.append(task)
    return left


def _submit(pool: ProcessPoolExecutor, task: Task, settings: Settings, run_id: str) -> Future[None]:
    try:
        return pool.submit(_execute, task, settings, run_id)
    except BrokenProcessPool as error:  # it broke between two tasks: this one ends as those that were running
        future: Future[None] = Future()
        future.set_exception(error)
        return future


def _finish(task: Task, future: Future[None], outcome: Outcome, observe: Observer) -> None:
    error = future.exception()
    if isinstance(error, BrokenProcessPool):
        error = TransientError(
            f"expected the process of {task.id} to end by itself, got a killed one (or another of its pool was, most "
            "often for memory): repeat with the same --run-id, which keeps what is finished, and fewer --jobs"
        )
    if error is None:
        outcome.states[task.id] = State.SUCCESS
        observe(task, State.SUCCESS, "")
        return
    if not isinstance(error, Exception):
        raise error
    outcome.states[task.id] = State.FAILED
    outcome.errors[task.id] = error
    observe(task, State.FAILED, f"{type(error).__name__}: {error}")


def _quiet() -> None:
    """In a worker process: one thread per BLAS call (jobs run side by side), and only warnings on the terminal."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    logging.basicConfig(level=logging.WARNING)


def _execute(task: Task, settings: Settings, run_id: str) -> None:
    from clipfarm_tasks.steps.catalog import execute  # in the worker: the parent needs none of what steps import
    from clipfarm_tasks.storage import open_store

    execute(task.step, open_store(settings), settings, run_id, task.strategy, task.horizon, task.family)
