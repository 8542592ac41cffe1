"""Search for better recipes of the model families, and publish what is found as a version that a run may name.

Every Saturday at 12:00 UTC, once it is unpaused: it is created paused. The training DAG never takes what it finds by
itself: a run trains with a preset file when its param `preset_version` names one, and pins it.

**Inputs** (bucket `CLIPFARM_BUCKET`, connection `clipfarm_s3`): rows and vectors of one pair of the newest complete run
that has it, at the versions which that run has pinned. Trials learn from its train part and are scored on its val part;
the test part is not read.

**Outputs**, under `clipfarm/tuning/`: for each family a study (its journal, one object for each record, and the
predictions of its trials), and `presets/version=<n>/presets.json` with the values that are better than those of the
code, both scores on the same rows, and the interval of their difference. The difference is optimistic, because val has
chosen; what the values are worth is told by the test part of a run with the same `split_strategy` and `seed`.

**Params**: each family has at most `trials` trials in all, shared by `workers` tasks, each of which starts new ones for
`minutes`; one that is running is left to end. Neural families stop a trial that does worse after an epoch than half of
those before it; fits of the others cannot be stopped. Families that train in pods are left out: tune them by the
command where torch is.

**Running it again is safe.** A study goes on where it stopped, also by hand: `python -m clipfarm_tasks tune`. With
other code, or after another complete run, it is another study. A preset file is never overwritten.

**When it fails**, the log says why in one sentence: the first line under `Task failed with exception`.

| what you see | what it means | what to do |
|---|---|---|
| `plan_study` failed: complete run | no complete run has this pair | other params, or let a run succeed |
| `plan_study` failed: trains in workers | all chosen families train in pods | tune by the command |
| `run_trials` failed at its first try | run or journal were altered | let a newer run succeed, trigger again |
| `run_trials` failed after its retries | S3 did not answer, no memory, or killed | clear it with downstream |
| `publish_preset` failed: preset of the code | no such trial ended: it died or runs | clear `run_trials` later |
| `publish_preset` names families in `unknown` | the same, for these alone | the same |
| `publish_preset` has version null | nothing was better | nothing |
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

from clipfarm_tasks.contracts import TuningParams
from clipfarm_tasks.deployment.form import form_fields
from clipfarm_tasks.deployment.scheduling import DEFAULT_ARGS, slot_of

BY_HAND = "by hand: `python -m clipfarm_tasks tune --run-id <id>`"


@task(multiple_outputs=False, **slot_of("plan_study"), doc_md=f"`clipfarm_tasks/steps/plan_study.py`; {BY_HAND}")
def plan_study() -> list[dict[str, Any]]:
    """Choose the run, and what each worker takes part in."""
    import clipfarm_runtime

    return clipfarm_runtime.plan_study(get_current_context())


@task(
    multiple_outputs=False,
    map_index_template="{{ task.op_kwargs['job']['family'] }}",
    **slot_of("run_trials"),
    doc_md=f"`clipfarm_tasks/steps/run_trials.py`; {BY_HAND}",
)
def run_trials(job: dict[str, Any]) -> dict[str, Any]:
    """Run trials of one study, beside its other workers, until the budget is used."""
    import clipfarm_runtime

    return clipfarm_runtime.run_trials(get_current_context(), job)


@task(
    multiple_outputs=False,
    **slot_of("publish_preset"),
    doc_md=f"`clipfarm_tasks/steps/publish_preset.py`; {BY_HAND} --publish",
)
def publish_preset(jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """Write what is better than the presets of the code as the next version."""
    import clipfarm_runtime

    return clipfarm_runtime.publish_preset(get_current_context(), jobs)


@dag(
    dag_id="clipfarm_tuning",
    doc_md=__doc__,
    description="Search for better recipes, and publish them as a version that a run may name",
    schedule="0 12 * * 6",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=True,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=20),
    default_args=DEFAULT_ARGS,
    params={name: Param(**field) for name, field in form_fields(TuningParams).items()},
    tags=["clipfarm", "tuning"],
)
def clipfarm_tuning() -> None:
    """Draw the graph."""
    jobs = plan_study()
    run_trials.expand(job=jobs) >> publish_preset(jobs)


clipfarm_tuning()
