"""What the tests of the real scheduler ask of Airflow's REST API and of the bucket its runs work on."""

import io
import json
import time
from urllib.parse import quote

import pandas as pd

from clipfarm_tasks import keys
from clipfarm_tasks.evaluation.cost import FIELDS
from clipfarm_tasks.stack.airflow_client import FINISHED_RUN
from clipfarm_tasks.stack.patience import Patience
from clipfarm_tasks.stack.task_failure import explain


class Scheduled:
    """A DAG in a running Airflow, on a bucket: starts runs, waits for their end, tells what became of their tasks."""

    def __init__(self, airflow, client, s3, store, dag_id):
        self.airflow, self.client, self.s3, self.store, self.dag_id = airflow, client, s3, store, dag_id
        self.s3_client = s3.client()
        client.wait_for_dag(dag_id)
        client.unpause(dag_id)

    def other(self, dag_id):
        """Another DAG in the same Airflow."""
        return Scheduled(self.airflow, self.client, self.s3, self.store, dag_id)

    def trigger(self, params):
        return self.wait(self.client.trigger(self.dag_id, params))

    def clear(self, run, task, *, downstream):
        """What the button does."""
        self.client._json(
            "POST",
            f"/api/v2/dags/{self.dag_id}/clearTaskInstances",
            json={
                "dry_run": False,
                "dag_run_id": run,
                "task_ids": [task],
                "include_downstream": downstream,
                "only_failed": False,
                "reset_dag_runs": True,
            },
        )
        return self.wait(run)

    def wait(self, run):
        patience = Patience()
        while self.client.run_state(self.dag_id, run) not in FINISHED_RUN:
            self.airflow.require_running()
            assert not patience.is_lost(self.tasks(run)), f"{run}: {self.tasks(run)}"
            time.sleep(0.5)
        return run

    def report(self, run):
        """Airflow's own description of a run."""
        return self.client._json("GET", f"/api/v2/dags/{self.dag_id}/dagRuns/{quote(run, safe='')}")

    def tasks(self, run):
        return {task.task_id: task for task in self.client.tasks(self.dag_id, run)}

    def states(self, run):
        return {name: task.state for name, task in self.tasks(run).items()}

    def tries(self, run):
        return {name: task.try_number for name, task in self.tasks(run).items()}

    def returned(self, run, task):
        return self.client.returned(self.dag_id, run, task)

    def pipeline_run(self, run):
        """The run's id in the bucket."""
        return self.returned(run, "resolve_run")["run_id"]

    def failure(self, run, task, try_number=1):
        """What the log of a failed try says."""
        return explain(self.client.log(self.dag_id, run, task, try_number))

    def read(self, key):
        return self.s3_client.get_object(Bucket=self.store.settings.bucket, Key=key)["Body"].read()

    def read_json(self, key):
        return json.loads(self.read(key))

    def objects(self, prefix):
        """(ETag, time of writing) by key."""
        pages = self.s3_client.get_paginator("list_objects_v2").paginate(
            Bucket=self.store.settings.bucket, Prefix=prefix
        )
        found = [item for page in pages for item in page.get("Contents", [])]
        return {item["Key"]: (item["ETag"], item["LastModified"]) for item in found}

    def comparison(self, pipeline_run):
        return self.read_json(f"{keys.comparison(pipeline_run)}metrics_comparison.json")

    def compared(self, pipeline_run):
        """The rows of the comparison without what was measured, which no two runs have in common."""
        measured = {*FIELDS, "pareto"}
        rows = self.comparison(pipeline_run)["rows"]
        return [{name: value for name, value in row.items() if name not in measured} for row in rows]

    def predictions(self, pipeline_run, strategy, horizon, family, part):
        folder = keys.job_snapshot(pipeline_run, family, strategy, horizon)
        return pd.read_parquet(io.BytesIO(self.read(f"{folder}predictions/{part}.parquet")))
