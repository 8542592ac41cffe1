"""Trains one job in a pod, with the verdict taken from the bucket instead of from the pod.

A pod's end says little: it may be deleted after it has published, count as succeeded after it was killed, or be gone
before anybody looked. So whatever becomes of the pod, the task succeeds if and only if the job's ``_SUCCESS`` is there
for the config digest of the run. No plugin: imported by the DAG file where pods are switched on.

Airflow imports this in every process that parses the DAG or runs any task of it. What costs is in the other modules
``clipfarm_pod_*``, which are imported when a pod is to be started.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError, AirflowTaskTimeout
from clipfarm_runtime import as_xcom, open_bucket, raise_for_airflow, requested

from clipfarm_tasks import keys
from clipfarm_tasks.deployment.pods import PodSettings
from clipfarm_tasks.errors import ClipfarmError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from clipfarm_pod_request import Job
    from clipfarm_pod_run import PodRun

    from clipfarm_tasks.contracts import SnapshotRecord
    from clipfarm_tasks.families import Family, Horizon, Strategy
    from clipfarm_tasks.steps.context import StepContext

# Not those of a try that Airflow itself gave up for lost (up_for_retry, scheduled, queued): another one follows it.
_ENDED_BY_A_PERSON = frozenset({"failed", "success", "skipped", "removed", "restarting", None})


class _InterruptedError(BaseException):
    """SIGTERM: leaves whatever waits for the pod. No Exception, because libraries catch and repeat those."""


class TrainingPodOperator(BaseOperator):
    """Runs ``python -m clipfarm_tasks step train`` for one job of the resolved run in a pod of its own.

    Returns what the local task returns: the JSON form of the job's `SnapshotRecord`.

    Args:
        strategy: fusion strategy of the job.
        horizon: days of the job.
        family: model family of the job; its `PodSettings` say what the pod is like.
        kwargs: of BaseOperator.

    Raises:
        ConfigError: the settings of the family's pods are incomplete or wrong.
    """

    def __init__(self, *, strategy: Strategy, horizon: Horizon, family: Family, **kwargs: Any) -> None:
        # Longer than all of the pod's own limits together: those leave a reason behind.
        kwargs["execution_timeout"] = PodSettings.from_environment(family).longest_life
        super().__init__(**kwargs)
        self.strategy = strategy
        self.horizon = horizon
        self.family = family
        self._pod: PodRun | None = None
        self._waiting = False  # and so to be interrupted by SIGTERM
        self._killed = False

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Run the pod, unless the job is finished already.

        Raises:
            AirflowSkipException: the run does not ask for this job.
            AirflowFailException: the settings, the data or the cluster's rules are wrong; retrying cannot help.
            AirflowException: the pod left no snapshot; a retry may help.
        """
        self._waiting = True
        run = self._resolved(context)
        record = self._finished(run, reused=True)
        if record is None:
            pod = self._pod_run(run)
            record = self._outcome(context, run, partial(pod.start, context))
        return as_xcom("train", record)

    def trigger_reentry(self, context: Mapping[str, Any], event: dict[str, Any]) -> dict[str, Any]:
        """Go on when the triggerer has seen the pod end, or could not see it any more; raises as `execute`."""
        self._waiting = True
        run = self._resolved(context)
        pod = self._pod_run(run)
        return as_xcom("train", self._outcome(context, run, partial(pod.go_on, context, event)))

    def on_kill(self) -> None:
        """Stop waiting for the pod. What becomes of it is decided outside of the signal's handler."""
        was_killed, self._killed = self._killed, True
        if self._pod is not None:
            self._pod.let_be()
        if self._waiting:
            self._waiting = False
            raise _InterruptedError("SIGTERM")
        if not was_killed:  # else it is being decided: a second signal must neither interrupt nor overrule that
            self._delete()

    def _delete(self) -> None:
        if self._pod is not None:
            self._pod.delete()

    def _pod_run(self, run: StepContext) -> PodRun:
        from clipfarm_pod_request import training_pod
        from clipfarm_pod_run import PodRun

        settings = PodSettings.from_environment(self.family)
        spec = training_pod(self._job(run), settings, run.settings)
        self._pod = PodRun(settings=settings, spec=spec, task_id=self.task_id, execution_timeout=self.execution_timeout)
        return self._pod

    def _resolved(self, context: Mapping[str, Any]) -> StepContext:
        """The run that ``resolve_run`` resolved."""
        from clipfarm_tasks.steps.context import StepContext, load_config

        resolved = context["ti"].xcom_pull(task_ids="resolve_run")
        record, *_ = requested("train", resolved, self.strategy, self.horizon, self.family)
        try:
            store, settings = open_bucket()
            return StepContext(store, settings, load_config(store, record.run_id))
        except ClipfarmError as error:
            raise_for_airflow(error)

    def _job(self, run: StepContext) -> Job:
        from clipfarm_pod_request import Job

        return Job(run.run_id, run.config.digest, self.strategy, self.horizon, self.family)

    def _finished(self, run: StepContext, *, reused: bool) -> SnapshotRecord | None:
        from clipfarm_tasks.steps.finished_job import finished_job

        try:
            return finished_job(run, self.strategy, self.horizon, self.family, reused=reused)
        except ClipfarmError as error:
            raise_for_airflow(error)

    def _outcome(self, context: Mapping[str, Any], run: StepContext, run_pod: Callable[[], Any]) -> SnapshotRecord:
        """What the bucket says after the pod has run, whatever the operator makes of the pod's end."""
        from clipfarm_pod_answer import told
        from clipfarm_pod_run import POD_ERRORS
        from clipfarm_pod_verdict import failure

        error: BaseException | None = None
        try:
            run_pod()
        except _InterruptedError as interruption:
            error = interruption
            self._keep_or_delete(context)
        except (AirflowTaskTimeout, *POD_ERRORS) as failed:
            error = failed
        finally:
            self._waiting = False
        record = self._finished(run, reused=False)
        job = self._job(run)
        if isinstance(error, AirflowTaskTimeout) and record is None:
            raise error  # Airflow then calls `on_kill`
        if record is None:
            marker = keys.job_snapshot(job.run_id, job.family, job.strategy, job.horizon) + keys.SUCCESS
            seen = self._pod.last_seen if self._pod is not None else None
            raise failure(job, run.store.uri(marker), seen, error) from error
        if error is not None:
            self.log.warning("%s is finished, although its pod was not seen to succeed: %s", job.task, told(error))
        return record

    def _keep_or_delete(self, context: Mapping[str, Any]) -> None:
        """After SIGTERM: a worker that goes down leaves the pod to the next try; a person who ended the task does not.

        Both send the same signal. But a person changes the task's state first.
        """
        ti = context["ti"]
        try:
            states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id])
        except (AirflowException, AirflowRuntimeError, OSError) as error:
            self.log.warning("keeping the pod, because the state of the task is not known: %s", error)
            return
        state = states.get(ti.run_id, {}).get(ti.task_id)
        if state not in _ENDED_BY_A_PERSON:
            self.log.warning("the worker was asked to stop: the pod goes on, the next try picks it up")
            return
        self.log.info("the task was set to %s: deleting its pod", state)
        self._delete()
