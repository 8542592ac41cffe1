"""Is the newest complete run fresh? Said every hour, whatever the training DAG says of itself.

Every hour. The training DAG can tell of a run that fails, but not of one that never starts: paused, starved of slots,
deleted. This one looks at the bucket alone. Outside of Airflow, `python -m clipfarm_tasks freshness` does the same.

**Inputs** (bucket `CLIPFARM_BUCKET`, connection `clipfarm_s3`): the records of gates under `clipfarm/runs/`, and the
configs of their runs. A run is as old as the inputs it pinned: its age counts from when it was resolved.

**Outputs**: none in the bucket. The task returns the newest complete run and its age in hours.

**Params**: none. The limit is `CLIPFARM_STALE_AFTER_HOURS`, 36 by default. Where an alert is configured
(`CLIPFARM_ALERT_*`), it is sent when the check fails after one that had not, and then once a day, at 08:00 UTC.

**Running it again is safe**: it changes nothing.

**When it fails**, the log says why in one sentence: the first line under `Task failed with exception`.

| what you see | what it means | what to do |
|---|---|---|
| failed: expected a complete run of the last ... h | no training run was complete since | look at `clipfarm_training` |
| failed: expected a complete run, got none | there was never one, or the runs were deleted | let one succeed |
| failed at its first try, otherwise | settings or permissions are wrong | fix that, then clear the task |
| failed after its retries | S3 did not answer, or the task died | nothing: the next hour tries again |
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import dag, task
from clipfarm_alerts import alerts

from clipfarm_tasks.deployment.scheduling import DEFAULT_ARGS, slot_of


@task(
    multiple_outputs=False,
    **slot_of("check_freshness"),
    **alerts("stale"),
    doc_md="`clipfarm_tasks/steps/check_freshness.py`; by hand: `python -m clipfarm_tasks freshness`",
)
def check_freshness() -> dict[str, Any]:
    """Fail unless a complete run is young enough."""
    import clipfarm_runtime

    return clipfarm_runtime.run_freshness_check()


@dag(
    dag_id="clipfarm_freshness",
    doc_md=__doc__,
    description="Fail when the newest complete run is too old",
    schedule="30 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=2),
    default_args=DEFAULT_ARGS,
    tags=["clipfarm", "freshness"],
)
def clipfarm_freshness() -> None:
    """Draw the graph."""
    check_freshness()


clipfarm_freshness()
