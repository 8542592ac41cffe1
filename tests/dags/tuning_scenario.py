"""Runs the tuning DAG once with a runtime that only answers, and prints what was called and what it was called as."""

import json
import sys

from airflow.dag_processing.dagbag import DagBag
from airflow.models.taskinstance import TaskInstance
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from sqlalchemy import select


def run():
    import clipfarm_runtime  # found only because Airflow puts its plugins folder on the path

    calls = []
    jobs = [{"run_id": "r", "family": family} for family in ("gbdt", "ridge", "gbdt", "ridge")]
    clipfarm_runtime.plan_study = lambda context: calls.append(["plan"]) or jobs
    clipfarm_runtime.run_trials = lambda context, job: calls.append(["run", job]) or {"study": "s"}
    clipfarm_runtime.publish_preset = lambda context, jobs: calls.append(["publish", list(jobs)]) or {"version": 1}
    bag = DagBag()
    assert not bag.import_errors, bag.import_errors
    dag_run = bag.dags["clipfarm_tuning"].test(logical_date=None)
    with create_session() as session:
        tasks = session.scalars(select(TaskInstance).where(TaskInstance.task_id == "run_trials")).all()
        labels = [task.rendered_map_index for task in sorted(tasks, key=lambda task: task.map_index)]
    return {"state": str(dag_run.state), "calls": calls, "labels": labels}


if __name__ == "__main__":
    initdb()
    sys.stdout.write("\n===\n" + json.dumps(run()))
