"""Keep the vector tables small and quick: compact them, and drop old versions that no kept run needs.

Every Sunday at 03:00 UTC. The training DAG needs nothing of it: without it, tables only grow and get slower to read.

**Inputs** (bucket `CLIPFARM_BUCKET`, connection `clipfarm_s3`): the records of all kept runs, which say what version of
which table each pins, and the tables under `clipfarm/vectors/`. Kept is a run whose folder `clipfarm/runs/run_id=<id>/`
still exists: to let go of what a run pins, delete that folder.

**Outputs**: the same tables in fewer and larger fragments, with the same rows; a tag `pinned-v<version>` on each
version that is pinned. Versions that were superseded more than `keep_days` days ago and that nothing pins are gone.

**Params**: `keep_days`, 1 or more, so that runs under way keep what they look at; `dry_run` counts and changes nothing.

**Running it again is safe**, also while runs read and write the tables, and after it was killed: it starts over with
what is there. A pinned version is never dropped, and neither is the newest.

**When it fails**, the log says why in one sentence: the first line under `Task failed with exception`.

| what you see | what it means | what to do |
|---|---|---|
| failed: records that tell | what a run pins is unknown, its tables are untouched | mend the record or delete the run |
| failed at its first try | settings, params or permissions are wrong | fix that, then clear the task |
| failed after its retries | S3 did not answer, or the task died | when S3 is back, clear the task |
| warning: compaction is left | runs wrote to that table all the time | nothing: it is tried again next week |
| warning: version is lost | dropped by hand, or the table was made anew | that run cannot be rebuilt or continued |
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

from clipfarm_tasks.contracts import MaintenanceParams
from clipfarm_tasks.deployment.form import form_fields
from clipfarm_tasks.deployment.scheduling import DEFAULT_ARGS, slot_of


@task(
    multiple_outputs=False,
    **slot_of("maintain"),
    doc_md="`clipfarm_tasks/steps/maintain.py`; by hand: `python -m clipfarm_tasks maintain`",
)
def maintain() -> dict[str, Any]:
    """Maintain all tables, one after the other: the records of the runs are read once for all."""
    import clipfarm_runtime

    return clipfarm_runtime.run_maintenance(get_current_context())


@dag(
    dag_id="clipfarm_maintenance",
    doc_md=__doc__,
    description="Compact the vector tables and drop old versions that no kept run pins",
    schedule="0 3 * * 0",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=20),
    default_args=DEFAULT_ARGS,
    params={name: Param(**field) for name, field in form_fields(MaintenanceParams).items()},
    tags=["clipfarm", "maintenance"],
)
def clipfarm_maintenance() -> None:
    """Draw the graph."""
    maintain()


clipfarm_maintenance()
