"""One try of a training task as Airflow's task runner makes it: an operator, a task instance, a context."""

import dataclasses
import signal
import threading
import types

from clipfarm_pod import TrainingPodOperator
from clipfarm_pod_request import Job, pod_name

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import SnapshotRecord
from clipfarm_tasks.families import Family, Horizon, Strategy

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

    @classmethod
    def of(cls, run, strategy, horizon, family, number=1, record=None):
        """Settings come from the environment, as they do when the DAG file is parsed."""
        operator = TrainingPodOperator(
            task_id=f"train_{family}", strategy=strategy, horizon=horizon, family=family, retries=3
        )
        operator.startup_check_interval_seconds = 0.05
        job = Job(run.id, run.record.digest, strategy, horizon, family)
        given = run.record.model_dump(mode="json") if record is None else record
        return cls(operator, TaskInstance(operator.task_id, given, number), pod_name(job, "clipfarm"))

    @property
    def context(self):
        return {"ti": self.ti, "run_id": self.ti.run_id, "dag": types.SimpleNamespace(parent_dag=None)}

    def execute(self):
        """Run it with the task runner's signal handler in place."""
        before = signal.signal(signal.SIGTERM, lambda *_: self.operator.on_kill())
        try:
            return self.operator.execute(self.context)
        finally:
            signal.signal(signal.SIGTERM, before)

    def resume(self, event):
        return self.operator.trigger_reentry(self.context, event)

    @property
    def returned(self):
        return self.ti.xcoms.get("return_value")


def marker_of(run, job=JOB):
    strategy, horizon, family = job
    return f"{keys.job_snapshot(run.id, family, strategy, horizon)}{keys.SUCCESS}"


def is_published(run, job=JOB):
    return run.store.head(marker_of(run, job)) is not None


def assert_succeeded(attempt, run, api, pods=1):
    """The record came through XCom, the snapshot is there, and no pod is left."""
    record = SnapshotRecord.model_validate(attempt.returned)
    assert record.snapshot_key == marker_of(run).removesuffix(keys.SUCCESS)
    assert record.digest == run.record.digest
    assert is_published(run)
    assert api.pods() == []
    assert len(api.created) == pods


def after(seconds, call):
    """Make a call later, while the test goes on."""
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
