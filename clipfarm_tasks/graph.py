"""The tasks of one run and what each waits for, as data: the order in which the pipeline runs without Airflow."""

from dataclasses import dataclass

from clipfarm_tasks import keys
from clipfarm_tasks.config import RunParams
from clipfarm_tasks.families import Family, Horizon, Strategy


@dataclass(frozen=True)
class Task:
    """One task of a run.

    Attributes:
        step: name of the step.
        strategy: selector of the step, if it takes one; likewise ``horizon`` (days) and ``family``.
        needs: ids of the tasks that must have succeeded.
        after: ids of the tasks that must have ended, however.
    """

    step: str
    strategy: Strategy | None = None
    horizon: Horizon | None = None
    family: Family | None = None
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Task id, the same as in Airflow."""
        return keys.task_id(self.step, self.strategy, self.horizon, self.family)


def tasks_of(params: RunParams) -> list[Task]:
    """All tasks of a resolved run in a valid order; what the params leave out is not there."""
    manifests = [Task("resolve_manifest", strategy) for strategy in params.strategies]
    modalities = Task("reconstruct_modalities", after=tuple(task.id for task in manifests))
    scan = Task("scan_metadata")
    tasks = [
        scan,
        *(Task("filter_metadata", horizon=horizon, needs=(scan.id,)) for horizon in params.horizons),
        *manifests,
        *(Task("reconstruct_fused", task.strategy, needs=(task.id,)) for task in manifests),
        modalities,
    ]
    pairs = [_pair(strategy, horizon, params) for horizon in params.horizons for strategy in params.strategies]
    tasks += [task for pair in pairs for task in pair]
    # The jobs too: a pair is given up when its first job fails, and the others may still train.
    ended = tuple(task.id for pair in pairs for task in pair[1:])
    leaderboard = Task("leaderboard", after=ended)
    return [*tasks, leaderboard, Task("gate", needs=(leaderboard.id,))]


def _pair(strategy: Strategy, horizon: Horizon, params: RunParams) -> list[Task]:
    split = Task(
        "build_split",
        strategy,
        horizon,
        needs=(
            keys.task_id("filter_metadata", horizon=horizon),
            keys.task_id("reconstruct_fused", strategy),
            keys.task_id("reconstruct_modalities"),
        ),
    )
    jobs = [Task("train", strategy, horizon, family, needs=(split.id,)) for family in params.models]
    publish = Task("publish_snapshot", strategy, horizon, needs=tuple(job.id for job in jobs))
    return [split, *jobs, publish]
