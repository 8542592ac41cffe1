"""The whole matrix without Airflow, measured once and shared by the rows that compare with it."""

import heapq
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from bench.buckets import DataSet
from bench.machine import cores
from bench.sample import Sample, repeated
from bench.workbench import Workbench
from clipfarm_tasks.errors import TransientError
from clipfarm_tasks.graph import Task
from clipfarm_tasks.pipeline import State, run_tasks
from clipfarm_tasks.steps.context import load_config
from clipfarm_tasks.steps.resolve_run import resolve_run


@dataclass(frozen=True)
class MatrixRuns:
    """Cold runs of all pairs and families.

    Attributes:
        seconds: wall time of each, from its resolution to its gate.
        run_id: the last one, whose snapshots are in the bucket.
        task_s: wall time of its tasks by task id, without the wait for a free process.
        workers: processes that ran them.
    """

    seconds: Sample
    run_id: str
    task_s: dict[str, float]
    workers: int

    def by_step(self) -> dict[str, float]:
        """Wall time of the last run's tasks by step and family, seconds."""
        total: defaultdict[str, float] = defaultdict(float)
        for task, seconds in self.task_s.items():
            total[task.rpartition(".")[2]] += seconds
        return dict(sorted(total.items(), key=lambda item: -item[1]))


def matrix_set(bench: Workbench) -> DataSet:
    """The data set of the matrix."""
    return bench.buckets.synthetic(bench.plan.matrix_videos, bench.plan.width)


def matrix_runs(bench: Workbench) -> MatrixRuns:
    """Runs of six pairs and four families, each with no vector table to begin with."""
    return bench.once("matrix runs", lambda: _measure(bench))


def slots() -> int:
    """Tasks side by side, without Airflow and through it."""
    return max(2, cores())


def own_seconds(submitted: Mapping[str, float], ended: Mapping[str, float], workers: int) -> dict[str, float]:
    """Wall time of each task without its wait for a free process, seconds.

    A pool starts tasks in the order in which they were submitted, so the process that is free first takes the next one.

    Args:
        submitted: when each task was handed to the pool, in that order.
        ended: when it ended.
        workers: processes of the pool.
    """
    free = [min(submitted.values())] * workers
    found: dict[str, float] = {}
    for task, time_submitted in submitted.items():
        began = max(time_submitted, heapq.heappop(free))
        heapq.heappush(free, ended[task])
        found[task] = ended[task] - began
    return found


def _measure(bench: Workbench) -> MatrixRuns:
    data_set = matrix_set(bench)
    runs: list[tuple[str, dict[str, float]]] = []

    def run() -> float:
        submitted: dict[str, float] = {}
        ended: dict[str, float] = {}

        def observe(task: Task, state: State, message: str) -> None:
            if state is State.RUNNING:
                submitted[task.id] = time.perf_counter()
            elif state is State.SUCCESS:
                ended[task.id] = time.perf_counter()
            else:
                raise TransientError(f"expected {task.id} to succeed, got {state}: {message}")

        start = time.perf_counter()
        store = data_set.store
        run_id = resolve_run(store, {"max_epochs": bench.plan.max_epochs}, f"matrix-{len(runs)}").run_id
        run_tasks(store.settings, run_id, load_config(store, run_id).params, slots(), observe)
        seconds = time.perf_counter() - start
        runs.append((run_id, own_seconds(submitted, ended, slots())))
        return seconds

    seconds = repeated(run, bench.plan.repeats, prepare=data_set.clear)
    bench.say(f"24 jobs without Airflow: {seconds.median:.1f} s")
    return MatrixRuns(seconds, *runs[-1], slots())
