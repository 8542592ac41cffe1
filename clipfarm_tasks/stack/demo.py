"""``make demo``: a synthetic bucket, one run of the DAG through the real scheduler, its leaderboard."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from clipfarm_tasks import keys
from clipfarm_tasks.cli.leaderboard_table import leaderboard
from clipfarm_tasks.config import Settings
from clipfarm_tasks.stack.airflow_client import FINISHED_RUN, AirflowClient
from clipfarm_tasks.stack.airflow_server import AirflowServer
from clipfarm_tasks.stack.errors import StackError
from clipfarm_tasks.stack.patience import STALLED_AFTER_S, Patience
from clipfarm_tasks.stack.progress import TaskProgress
from clipfarm_tasks.stack.seaweed import SeaweedServer
from clipfarm_tasks.stack.task_failure import explain

if TYPE_CHECKING:
    from clipfarm_tasks.storage import Store

DAG_ID = "clipfarm_training"
BUCKET = "clipfarm-demo"
_POLL_S = 1.0
OVERRIDES = {
    # Unpausing would otherwise start today's scheduled run beside the one the demo watches.
    "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
    # The DAG file does not change while the demo runs; parsing it again takes time from the tasks.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
}


def demo(folder: Path, console: Console, videos: int, stalled_after_s: float = STALLED_AFTER_S) -> None:
    """Run the whole demo in an empty folder.

    Args:
        folder: where both servers keep their state; left as it is at the end.
        console: where progress and leaderboard are shown.
        videos: size of the synthetic bucket.
        stalled_after_s: seconds without a change of any task's state after which the run is given up.

    Raises:
        StackError: a server did not come up, a task failed (with its error), or the run stalled.
    """
    began = time.monotonic()
    with SeaweedServer(folder / "s3", BUCKET) as s3:
        console.print(f"S3 server at {s3.endpoint_url}, bucket {BUCKET}", highlight=False)
        store = store_of(s3)
        write_sample_of(store, videos, console)
        console.print("Starting Airflow ...", highlight=False)
        with AirflowServer(folder / "airflow", s3.environment(), overrides=OVERRIDES) as airflow:
            console.print(f"Airflow at {airflow.url}, user admin, password {airflow.password()}", highlight=False)
            with airflow.client() as client:
                run_id = _train(client, console, airflow.require_running, stalled_after_s)
        comparison = f"{keys.comparison(run_id)}metrics_comparison.json"
        content: dict[str, Any] = json.loads(store.get(comparison))
        console.print(leaderboard(content))
        console.print(f"Snapshots: {store.uri(keys.snapshots_prefix(run_id))}", highlight=False, soft_wrap=True)
        console.print(f"Leaderboard: {store.uri(comparison)}", highlight=False, soft_wrap=True)
    console.print(
        f"The bucket's data lies in {folder / 's3'} until the next demo.\n"
        f"Finished in {time.monotonic() - began:.0f} s; both servers are stopped.",
        highlight=False,
        soft_wrap=True,
    )


def store_of(s3: SeaweedServer) -> "Store":
    """The bucket of a running server as the pipeline's store."""
    import boto3

    from clipfarm_tasks.stack.seaweed import REGION
    from clipfarm_tasks.storage import open_store

    session = boto3.Session(aws_access_key_id=s3.access_key, aws_secret_access_key=s3.secret_key, region_name=REGION)
    return open_store(Settings.from_environment(s3.environment()), session)


def write_sample_of(store: "Store", videos: int, console: Console) -> None:
    """Write the synthetic bucket of that many videos and say how long it took."""
    from clipfarm_tasks.sample.write import write_sample

    began = time.monotonic()
    write_sample(store, videos=videos)
    console.print(f"Synthetic bucket of {videos} videos written in {time.monotonic() - began:.1f} s", highlight=False)


def _train(client: AirflowClient, console: Console, require_running: Callable[[], None], stalled_after_s: float) -> str:
    """Trigger a run with the default params and follow it to its end; returns the pipeline's run id."""
    client.wait_for_dag(DAG_ID)
    client.unpause(DAG_ID)
    run = client.trigger(DAG_ID)
    console.print(f"Triggered {DAG_ID}, run {run}", highlight=False)
    with TaskProgress(console) as progress:
        follow(client, DAG_ID, run, progress, require_running, stalled_after_s)
    return str(client.returned(DAG_ID, run, "resolve_run")["run_id"])


def follow(
    client: AirflowClient,
    dag_id: str,
    run: str,
    progress: TaskProgress,
    require_running: Callable[[], None],
    stalled_after_s: float = STALLED_AFTER_S,
) -> None:
    """Show a run's tasks until it has ended.

    Args:
        client: logged-in client.
        dag_id: the DAG.
        run: Airflow's run id.
        progress: where the tasks are shown.
        require_running: raises when a server has stopped.
        stalled_after_s: seconds without a change of any task's state after which the run is given up.

    Raises:
        StackError: a task failed, with the error in its log; the run failed; or it stalled.
    """
    patience = Patience(stalled_after_s)
    while True:
        require_running()
        state = client.run_state(dag_id, run)
        tasks = client.tasks(dag_id, run)
        progress.show(tasks)
        for task in tasks:
            if task.state == "failed":
                reason = explain(client.log(dag_id, run, task.task_id, task.try_number))
                raise StackError(f"task {task.task_id} failed at try {task.try_number}:\n{reason}")
        if state in FINISHED_RUN:
            break
        if patience.is_lost([(task.task_id, task.state, task.try_number) for task in tasks]):
            running = ", ".join(task.task_id for task in tasks if task.state == "running") or "no task"
            raise StackError(
                f"expected a task to change its state within {stalled_after_s:g} s, got none, while {running} was "
                f"running, in {dag_id} {run}"
            )
        time.sleep(_POLL_S)
    if state != "success":
        raise StackError(f"expected the run to succeed, got {state}, in {dag_id} {run}")
