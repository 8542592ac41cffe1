"""One try of a training task as Airflow's task runner makes it: an operator, a task instance, a context."""

import dataclasses
import signal
import threading
import time
import types

from clipfarm_pod import TrainingPodOperator
from clipfarm_pod_request import Job, pod_name

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import SnapshotRecord
from clipfarm_tasks.families import Family, Horizon, Strategy
from tests.eventually import eventually

JOB = (Strategy.CONCAT, Horizon.D7, Family.RIDGE)
CONNECTION = "AIRFLOW_CONN_KUBERNETES_DEFAULT"
IMAGE = "registry.example/clipfarm-trainer:1.0.0"


class TaskInstance:
    """What the operator uses of one; ``state`` is what Airflow's server would answer."""

    def __init__(self, task_id, record, try_number):
        self.dag_id = "clipfarm_training"
        self.task_id = task_id
        self.run_id = "manual__2026-03-01T00:00:00+00:00"
        self.map_index = -1
        self.try_number = try_number
        self.state = "running"
        self.xcoms = {}
        self.start_date = None
        self._record = record

    def xcom_pull(self, task_ids):
        assert task_ids == "resolve_run"
        return self._record

    def xcom_push(self, key, value):
        self.xcoms[key] = value

    def get_task_states(self, dag_id, task_ids, run_ids):
        assert (dag_id, task_ids, run_ids) == (self.dag_id, [self.task_id], [self.run_id])
        return {self.run_id: {self.task_id: self.state}}


@dataclasses.dataclass
class Try:
    """A try of one job's task: ``execute``, or ``resume`` after it was deferred."""

    operator: TrainingPodOperator
    ti: TaskInstance
    pod: str
    returned: dict | None = None

    @classmethod
    def of(cls, run, strategy, horizon, family, number=1, record=None):
        """Settings come from the environment, as they do when the DAG file is parsed."""
        operator = TrainingPodOperator(
            task_id=f"train_{family}", strategy=strategy, horizon=horizon, family=family, retries=3
        )
        job = Job(run.id, run.record.digest, strategy, horizon, family)
        given = run.record.model_dump(mode="json") if record is None else record
        attempt = cls(operator, TaskInstance(operator.task_id, given, number), pod_name(job, "clipfarm"))
        attempt.alter(lambda pod: vars(pod).update(startup_check_interval_seconds=0.05))
        return attempt

    def alter(self, change):
        """Change what runs the pod, when the operator has made it."""
        make = self.operator._pod_run

        def made(*arguments):
            pod = make(*arguments)
            change(pod)
            return pod

        self.operator._pod_run = made

    @property
    def context(self):
        return {"ti": self.ti, "run_id": self.ti.run_id, "dag": types.SimpleNamespace(parent_dag=None)}

    def execute(self):
        """Run it with the task runner's signal handler in place."""
        before = signal.signal(signal.SIGTERM, lambda *_: self.operator.on_kill())
        try:
            self.returned = self.operator.execute(self.context)
            return self.returned
        finally:
            signal.signal(signal.SIGTERM, before)

    def resume(self, event):
        self.returned = self.operator.trigger_reentry(self.context, event)
        return self.returned


def marker_of(run, job=JOB):
    strategy, horizon, family = job
    return f"{keys.job_snapshot(run.id, family, strategy, horizon)}{keys.SUCCESS}"


def is_published(run, job=JOB):
    return run.store.head(marker_of(run, job)) is not None


def assert_succeeded(attempt, run, api, pods=1):
    """The record was returned, the snapshot is there, and no pod is left."""
    record = SnapshotRecord.model_validate(attempt.returned)
    assert record.snapshot_key == marker_of(run).removesuffix(keys.SUCCESS)
    assert record.digest == run.record.digest
    assert is_published(run)
    assert_no_pod(api)
    assert len(api.created) == pods


def assert_no_pod(api):
    """No pod is left. The node takes a moment to end one that was deleted, as every node does."""
    eventually(lambda: not api.pods())


def meanwhile(call):
    """Make a call while the test goes on."""
    threading.Thread(target=call, daemon=True).start()


def once_watched(api, pod, call):
    """Make a call when somebody who waits for the pod has looked at it twice, while the test goes on."""

    def watch():
        while sum(request.method == "GET" and request.path.endswith(f"/pods/{pod}") for request in api.requests) < 2:
            time.sleep(0.02)
        call()

    meanwhile(watch)
