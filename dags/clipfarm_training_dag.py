"""Retrain the models that predict how many views a short video has 7 and 30 days after it was published.

Every day at 00:00 UTC: 3 fusion strategies x 2 horizons x 4 families = 24 jobs, in workers or pods, an ensemble of
each pair, one leaderboard. Families that are off by default, `tabm` and `kernel`, are trained where `models` has them.

**Inputs** (bucket `CLIPFARM_BUCKET`, connection `clipfarm_s3`): the metadata CSV, the fused manifests with their
shards, the per-modality vectors. `resolve_run` keeps a copy of CSV, manifests and schemas, and the first task that
reads vectors settles their version: what upstream writes later is the next run's.

**Outputs**: one immutable snapshot per job and per pair, and `comparison/` with the leaderboard, under
`clipfarm/models/snapshots/run_id=<id>/`. A folder without `_SUCCESS` is no snapshot.

**Params**: what the form leaves out is skipped. What it cannot check, `resolve_run` refuses, all problems at once.
**Running it again is safe.** Clear one task, a group or the run: with the same params, inputs and code, finished work
is found and kept. With others, the run gets a new run id with a suffix. Nothing finished is overwritten.
Do not trigger a run with a logical date in the future: it waits for that date, and as only one run is active at a time
the nights wait behind it, until its time limit of 20 h.

**When it fails**, the failed task's log says why in one sentence: the first line under `Task failed with exception`.

| what you see | what it means | what to do |
|---|---|---|
| failed at its first try | settings, params or data break the rule in the message | fix that, then clear the task |
| failed after its retries | S3 did not answer, or the task died | when S3 is back, clear the task |
| `resolve_run` failed | nothing was started; two tasks fail after it, saying so | fix it, clear it with downstream |
| `scan_metadata` failed | the CSV breaks the rule it names | when mended, start a new run |
| `reconstruct_*` failed: quarantined | too many unusable vectors | read the quarantine list it names; tell upstream |
| `build_split` failed: lost | too many labelled videos have no vectors | the message counts them by reason |
| `baselines_*` failed | no naive guesses, and no leakage probes: the gate stays shut | clear it with downstream |
| only `gate` failed: leak | a probe found features or videos that give labels away | new run: the message says how |
| only `gate` failed: missing | some jobs have no snapshot; the others are kept | clear these, with downstream |
| only `gate` failed: slice_limits | the best model is too weak on a slice | new run, with the limit you mean |
| `train_*` failed: pod ... | its pod ended without a snapshot; the sentence says how | nothing, if a retry follows |
| `ensemble` failed | a job of its pair is missing, or has other rows | clear that job, with downstream |
| `leaderboard` failed, the rest is fine | only the comparison is missing | clear `leaderboard` with downstream |
"""

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, TaskGroup, dag, get_current_context, task
from clipfarm_alerts import alerts

from clipfarm_tasks.deployment.backend import trains_in_pod
from clipfarm_tasks.deployment.form import form_fields
from clipfarm_tasks.deployment.scheduling import DEFAULT_ARGS, slot_of
from clipfarm_tasks.graph import Task, all_tasks


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


def draw(box: Task) -> Any:
    """Draw one task of the graph. Training jobs run here or in pods of their own: the deployment decides."""
    selectors = {"strategy": box.strategy, "horizon": box.horizon, "model": box.family}
    options = "".join(f" --{option} {value}" for option, value in selectors.items() if value is not None)
    drawn = {
        "task_id": box.id.rpartition(".")[2],  # the task group adds its prefix
        "doc_md": f"`clipfarm_tasks/steps/{box.step}.py`; by hand: "
        f"`python -m clipfarm_tasks step {box.step} --run-id <id>{options}`",
        "trigger_rule": trigger_rule(box),
        **slot_of(box.step, box.strategy, box.family),
        **(alerts("gate") if box.step in ("leaderboard", "gate") else {}),
    }
    if box.family is not None and trains_in_pod(box.family):
        from clipfarm_pod import TrainingPodOperator

        return TrainingPodOperator(strategy=box.strategy, horizon=box.horizon, family=box.family, **drawn)
    return step.override(**drawn)(
        box.step, box.strategy and box.strategy.value, box.horizon and int(box.horizon), box.family and box.family.value
    )


def trigger_rule(box: Task) -> str:
    """Airflow skips what a run does not ask for; a task that waits for some of that runs all the same."""
    # Not all_done_min_one_success: that rule skips the task as soon as one upstream is skipped.
    if box.after:
        return "all_done"
    return "none_failed_min_one_success" if box.some_may_be_left_out else "all_success"


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
    """Draw the graph: `clipfarm_tasks.graph` says what waits for what; of it, a run skips what it does not ask for."""
    first = resolve_run()
    groups: dict[str, TaskGroup] = {}
    drawn: dict[str, Any] = {}
    for box in all_tasks():
        group = box.pair or ("verdict" if box.step in ("leaderboard", "gate") else "")
        if group and group not in groups:
            groups[group] = TaskGroup(group, prefix_group_id=bool(box.pair))
        with groups.get(group, nullcontext()):
            drawn[box.id] = draw(box)
        ([drawn[name] for name in (*box.needs, *box.after)] or [first]) >> drawn[box.id]
    with groups["verdict"]:
        drawn["leaderboard"] >> delete_pods()


clipfarm_training()
