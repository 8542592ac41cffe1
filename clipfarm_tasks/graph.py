"""The graph of one run, as data: every task, what it waits for and the group it is drawn in.

The DAG file draws it, and `clipfarm_tasks.pipeline` runs it without Airflow.
"""

from dataclasses import dataclass

from clipfarm_tasks import keys
from clipfarm_tasks.config import RunParams
from clipfarm_tasks.families import ENSEMBLE, Family, Horizon, Strategy, model_names


@dataclass(frozen=True)
class Task:
    """One task of a run.

    Attributes:
        step: name of the step.
        strategy: selector of the step, if it takes one; likewise ``horizon`` (days) and ``family``.
        needs: ids of the tasks that must have succeeded.
        after: ids of the tasks that must have ended, however.
        some_may_be_left_out: whether a run that asks for this task may leave out some of those it needs.
    """

    step: str
    strategy: Strategy | None = None
    horizon: Horizon | None = None
    family: Family | None = None
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    some_may_be_left_out: bool = False

    @property
    def id(self) -> str:
        """Task id, the same as in Airflow."""
        return keys.task_id(self.step, self.strategy, self.horizon, self.family)

    @property
    def pair(self) -> str:
        """The group of a pair's tasks, e.g. ``concat_7d``; empty for a task of no pair."""
        return self.id.rpartition(".")[0]


def all_tasks() -> list[Task]:
    """The tasks of a run that asks for everything: what Airflow draws."""
    return tasks_of(RunParams(models=tuple(Family)))


def tasks_of(params: RunParams) -> list[Task]:
    """All tasks of a resolved run in a valid order; what the params leave out is not there."""
    scan = Task("scan_metadata")
    manifests = [Task("resolve_manifest", strategy) for strategy in params.strategies]
    labels = [Task("filter_metadata", horizon=horizon, needs=(scan.id,)) for horizon in params.horizons]
    tasks = [
        scan,
        *labels,
        *(Task("split_videos", horizon=task.horizon, needs=(task.id,)) for task in labels),
        *manifests,
        *(Task("reconstruct_fused", task.strategy, needs=(task.id,)) for task in manifests),
        # A missing manifest of one strategy must not stop the others.
        Task("reconstruct_modalities", after=_ids(manifests)),
    ]
    baselines = [
        Task("baselines", horizon=horizon, needs=_ids((Task("split_videos", horizon=horizon), tasks[-1])))
        for horizon in params.horizons
    ]
    pairs = [_pair(strategy, horizon, params) for horizon in params.horizons for strategy in params.strategies]
    tasks += [*baselines, *(task for pair in pairs for task in pair)]
    # The jobs too: a pair is given up when its first job fails, and the others may still train.
    leaderboard = Task("leaderboard", after=_ids([*baselines, *(task for pair in pairs for task in pair[1:])]))
    return [*tasks, leaderboard, Task("gate", needs=(leaderboard.id,))]


def _pair(strategy: Strategy, horizon: Horizon, params: RunParams) -> list[Task]:
    inputs = (
        Task("split_videos", horizon=horizon),
        Task("reconstruct_fused", strategy),
        Task("reconstruct_modalities"),
    )
    split = Task("build_split", strategy, horizon, needs=_ids(inputs))
    jobs = [Task("train", strategy, horizon, family, needs=(split.id,)) for family in params.models]
    if ENSEMBLE in model_names(params.models):
        jobs.append(Task(ENSEMBLE, strategy, horizon, needs=_ids(jobs), some_may_be_left_out=True))
    publish = Task("publish_snapshot", strategy, horizon, needs=_ids(jobs), some_may_be_left_out=True)
    return [split, *jobs, publish]


def _ids(tasks: "list[Task] | tuple[Task, ...]") -> tuple[str, ...]:
    return tuple(task.id for task in tasks)
