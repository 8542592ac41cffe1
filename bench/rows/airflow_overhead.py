"""The 24 jobs through the real Airflow against the same without it."""

import time

from rich.console import Console

from bench.result import Row
from bench.rows.matrix_runs import matrix_runs, matrix_set
from bench.sample import Sample
from bench.workbench import Workbench
from clipfarm_tasks.stack.airflow_client import AirflowClient
from clipfarm_tasks.stack.airflow_server import AirflowServer
from clipfarm_tasks.stack.demo import DAG_ID, OVERRIDES, follow
from clipfarm_tasks.stack.progress import TaskProgress

_DAG_WITHIN_S = 60.0


def airflow_overhead(bench: Workbench) -> list[Row]:
    """One row without a target. Both sides start from a bucket without vector tables and run as many tasks at once."""
    direct = matrix_runs(bench)
    data_set = matrix_set(bench)
    data_set.clear()
    home = bench.folder / "airflow"
    overrides = OVERRIDES | {"AIRFLOW__CORE__PARALLELISM": str(direct.workers)}
    with (
        AirflowServer(home, data_set.environment, overrides=overrides) as airflow,
        airflow.client() as client,
    ):
        seconds, tasks = _run(bench, client, airflow)
    wall = Sample((seconds,))
    added = [(seconds - without) / tasks for without in direct.seconds.values]
    bench.say(f"24 jobs through Airflow: {seconds:.1f} s")
    return [
        Row(
            name="airflow overhead",
            what=f"the same 24 jobs through Airflow ({tasks} tasks, LocalExecutor, {direct.workers} at a time), "
            "from trigger to end",
            against="without Airflow",
            target="",
            measured=(wall.median - direct.seconds.median) / tasks,
            unit="s per task",
            spread=(min(added), max(added)),
            runs=1,
            reached=None,
            note=f"wall time added, divided by the tasks; a task holds its slot {direct.workers} x as long. Through "
            "Airflow once; the start of its servers is not counted",
            values={"airflow_s": seconds, "direct_s": direct.seconds.median, "tasks_n": tasks},
        )
    ]


def _run(bench: Workbench, client: AirflowClient, airflow: AirflowServer) -> tuple[float, int]:
    """Wall seconds of one run and the number of its tasks; what it does not ask for takes no process."""
    client.wait_for_dag(DAG_ID, _DAG_WITHIN_S)
    client.unpause(DAG_ID)
    began = time.perf_counter()
    run = client.trigger(DAG_ID, {"max_epochs": bench.plan.max_epochs})
    with TaskProgress(Console(quiet=True)) as progress:
        follow(client, DAG_ID, run, progress, airflow.require_running, bench.plan.airflow_limit_s)
    seconds = time.perf_counter() - began
    return seconds, sum(task.state != "skipped" for task in client.tasks(DAG_ID, run))
