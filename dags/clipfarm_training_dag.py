"""Retrain the models that predict how many views a short video has 7 and 30 days after it was published.

Every day at 00:00 UTC: 3 fusion strategies x 2 horizons x 4 families = 24 jobs, in workers or pods, one leaderboard.

**Inputs** (bucket `CLIPFARM_BUCKET`, connection `clipfarm_s3`): the metadata CSV, the fused manifests with their
shards, the per-modality vectors. `resolve_run` pins their ETags; an input that changes during the run is refused.

**Outputs**: one immutable snapshot per job and per pair, and `comparison/` with the leaderboard, under
`clipfarm/models/snapshots/run_id=<id>/`. A folder without `_SUCCESS` is no snapshot.

**Params**: what the form leaves out is skipped. What it cannot check, `resolve_run` refuses, all problems at once.
**Running it again is safe.** Clear one task, a group or the run: with the same params, inputs and code, finished work
is found and kept. With others, the run gets a new run id with a suffix. Nothing finished is overwritten.

**When it fails**, the failed task's log says why in one sentence: the first line under `Task failed with exception`.

| what you see | what it means | what to do |
|---|---|---|
| failed at its first try | settings, params or data break the rule in the message | fix that, then clear the task |
| failed after its retries | S3 did not answer, or the task died | when S3 is back, clear the task |
| `resolve_run` failed | nothing was started; two tasks fail after it, saying so | fix it, clear it with downstream |
| `scan_metadata` failed | the CSV breaks the rule it names | when mended, clear `resolve_run` with downstream |
| `reconstruct_*` failed: quarantined | too many unusable vectors | read the quarantine list it names; tell upstream |
| only `gate` failed | some jobs have no snapshot; the others are kept | clear the tasks it names, with downstream |
| `train_*` failed: pod ... | its pod ended without a snapshot; the sentence says how | nothing, if a retry follows |
| `leaderboard` failed, the rest is fine | only the comparison is missing | clear `leaderboard` with downstream |
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, TaskGroup, XComArg, chain, dag, get_current_context, task
from clipfarm_alerts import alerts

from clipfarm_tasks import keys
from clipfarm_tasks.deployment.backend import trains_in_pod
from clipfarm_tasks.deployment.form import form_fields
from clipfarm_tasks.deployment.scheduling import DEFAULT_ARGS, slot_of
from clipfarm_tasks.families import Family, Horizon, Strategy


@task(multiple_outputs=False, **slot_of("resolve_run"))
def resolve_run() -> dict[str, Any]:
    """Check the params and pin what the run is made of."""
    from clipfarm_runtime import resolve

    return resolve(get_current_context())


@task(multiple_outputs=False)
def step(
    name: str, strategy: str | None = None, horizon: int | None = None, family: str | None = None
) -> dict[str, Any]:
    """Run one step of the resolved run, or skip it when the run does not ask for it."""
    from clipfarm_runtime import run_step

    # Pulled, not passed: as an argument it would draw an arrow from resolve_run to every task.
    return run_step(name, get_current_context()["ti"].xcom_pull(task_ids="resolve_run"), strategy, horizon, family)


@task(multiple_outputs=False, trigger_rule="all_done", **slot_of("delete_pods"))
def delete_pods() -> dict[str, int]:
    """Delete the pods this run has left; skipped where nothing trains in pods."""
    from clipfarm_pod_janitor import delete_pods as delete

    return delete(get_current_context()["ti"].xcom_pull(task_ids="resolve_run"))


def drawn(
    name: str, strategy: Strategy | None = None, horizon: Horizon | None = None, family: Family | None = None
) -> dict[str, Any]:
    """What every kind of task is drawn with, under the name that its record and the command line know it by."""
    selectors = {"strategy": strategy, "horizon": horizon, "model": family}
    options = "".join(f" --{option} {value}" for option, value in selectors.items() if value is not None)
    return {
        "task_id": keys.task_id(name, strategy, horizon, family).rpartition(".")[2],  # the task group adds its prefix
        "doc_md": f"`clipfarm_tasks/steps/{name}.py`; by hand: "
        f"`python -m clipfarm_tasks step {name} --run-id <id>{options}`",
        **slot_of(name, strategy, family),
    }


def box(
    name: str,
    strategy: Strategy | None = None,
    horizon: Horizon | None = None,
    family: Family | None = None,
    **settings: Any,
) -> XComArg:
    """Draw a task that runs a step in the worker."""
    return step.override(**drawn(name, strategy, horizon, family), **settings)(
        name, strategy and strategy.value, horizon and int(horizon), family and family.value
    )


def training_task(**job: Any) -> Any:
    """Draw the task that trains one job (strategy, horizon, family), here or in a pod: the deployment decides."""
    if not trains_in_pod(job["family"]):
        return box("train", **job)
    from clipfarm_pod import TrainingPodOperator

    return TrainingPodOperator(**job, **drawn("train", **job))


@dag(
    dag_id="clipfarm_training",
    doc_md=__doc__,
    description="Train every strategy x horizon x family, publish snapshots and one leaderboard",
    schedule="0 0 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=20),
    default_args=DEFAULT_ARGS,
    **alerts("late"),
    params={name: Param(**field) for name, field in form_fields().items()},
    tags=["clipfarm", "training"],
)
def clipfarm_training() -> None:
    """Draw the graph."""
    scan = box("scan_metadata")
    metadata = {horizon: box("filter_metadata", horizon=horizon) for horizon in Horizon}
    manifests = {strategy: box("resolve_manifest", strategy) for strategy in Strategy}
    fused = {strategy: box("reconstruct_fused", strategy) for strategy in Strategy}
    # all_done: neither a missing manifest nor a strategy that was not asked for may stop the others. Not
    # all_done_min_one_success: that rule skips the task as soon as one upstream is skipped.
    modalities = box("reconstruct_modalities", trigger_rule="all_done")
    # all_done, of jobs too: the first that fails gives up its pair while others train. What is missing is marked.
    leaderboard = box("leaderboard", trigger_rule="all_done", **alerts("gate"))

    resolve_run() >> [scan, *manifests.values()]
    scan >> list(metadata.values())
    chain(list(manifests.values()), list(fused.values()))
    list(manifests.values()) >> modalities

    for strategy in Strategy:
        for horizon in Horizon:
            with TaskGroup(f"{strategy}_{horizon}d", tooltip=f"{strategy}, {horizon} days after publication"):
                split = box("build_split", strategy, horizon)
                publish = box("publish_snapshot", strategy, horizon, trigger_rule="none_failed_min_one_success")
                jobs = [training_task(strategy=strategy, horizon=horizon, family=family) for family in Family]
                split >> jobs >> publish
            [*jobs, publish] >> leaderboard
            [metadata[horizon], fused[strategy], modalities] >> split

    with TaskGroup("verdict", prefix_group_id=False):
        leaderboard >> [box("gate", **alerts("gate")), delete_pods()]


clipfarm_training()
