"""Trains one job in a pod: KubernetesPodOperator, with the verdict taken from the bucket instead of from the pod.

A pod's end says little: it may be deleted after it has published, count as succeeded after it was killed, or be gone
before anybody looked. So whatever becomes of the pod, the task succeeds if and only if the job's ``_SUCCESS`` is there
for the config digest of the run. No plugin: imported by the DAG file where pods are switched on.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowRuntimeError, AirflowTaskTimeout
from clipfarm_pod_lifecycle import await_end, create_or_adopt, delete, find, is_alive
from clipfarm_pod_request import Job, training_pod
from clipfarm_pod_verdict import failure
from clipfarm_runtime import as_xcom, open_bucket, raise_for_airflow, requested
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from clipfarm_tasks import keys
from clipfarm_tasks.deployment.pods import PREFIX, PodSettings
from clipfarm_tasks.errors import ClipfarmError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubernetes.client import models as k8s

    from clipfarm_tasks.contracts import SnapshotRecord
    from clipfarm_tasks.families import Family, Horizon, Strategy
    from clipfarm_tasks.steps.context import StepContext

_POD_ERRORS = (AirflowException, ApiException, ConfigException, HTTPError, OSError)
_UNAUTHORIZED = 401
# Not those of a try that Airflow itself gave up for lost (up_for_retry, scheduled, queued): another one follows it.
_ENDED_BY_A_PERSON = frozenset({"failed", "success", "skipped", "removed", "restarting", None})


class _InterruptedError(BaseException):
    """SIGTERM: leaves whatever waits for the pod. No Exception, because libraries catch and repeat those."""


class TrainingPodOperator(KubernetesPodOperator):
    """Runs ``python -m clipfarm_tasks step train`` for one job of the resolved run in a pod of its own.

    Returns through XCom what the local task returns: the JSON form of the job's `SnapshotRecord`.

    Args:
        strategy: fusion strategy of the job.
        horizon: days of the job.
        family: model family of the job; its `PodSettings` say what the pod is like.
        kwargs: of BaseOperator.

    Raises:
        ConfigError: the settings of the family's pods are incomplete or wrong.
    """

    def __init__(self, *, strategy: Strategy, horizon: Horizon, family: Family, **kwargs: Any) -> None:
        settings = PodSettings.from_environment(family)
        # Longer than all of the pod's own limits together: those leave a reason behind.
        kwargs["execution_timeout"] = settings.longest_life
        super().__init__(
            kubernetes_conn_id=settings.connection_id,
            namespace=settings.namespace,
            image=settings.image,
            # The name says which job it is, so the API server itself refuses a second pod of a job. That settles
            # retries, clears and lost answers; looking for pods by label settles none of them.
            random_name_suffix=False,
            durable=False,
            # The record comes from the bucket. A sidecar that hangs or is lost cannot take it away.
            do_xcom_push=False,
            # A GPU node may have to be bought first (120 s by default), and a large image to be pulled.
            schedule_timeout_seconds=settings.schedule_timeout_s,
            startup_timeout_seconds=settings.startup_timeout_s,
            deferrable=settings.deferrable,
            # Well below the two minutes after which the log of an ended pod may be gone.
            poll_interval=settings.poll_interval_s,
            active_deadline_seconds=settings.active_deadline_s,
            termination_grace_period=settings.grace_period_s,
            # The operator's own value would win over the pod's.
            termination_message_policy="FallbackToLogsOnError",
            # Its events say why a pod did not start. Its whole spec would bury the sentence that matters.
            log_events_on_failure=True,
            # They would be read in a task of its own, where an interruption gets lost. What keeps a pod waiting is also
            # in its status.
            log_events_on_startup=False,
            log_pod_spec_on_failure=False,
            # Also a failed pod: its log is in the task's, and nothing may be left behind.
            on_finish_action="delete_pod",
            # In the triggerer; there it means that a person ended the task. For a worker see `on_kill`.
            on_kill_action="delete_pod",
            **kwargs,
        )
        self.strategy = strategy
        self.horizon = horizon
        self.family = family
        self._waiting = False  # and so to be interrupted by SIGTERM
        self._has_started = False  # in this process; the triggerer waits elsewhere

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
            self._require_no_secret_to_write_down()
            self.full_pod_spec = training_pod(self._job(run), PodSettings.from_environment(self.family), run.settings)
            record = self._outcome(context, run, partial(super().execute, context))
        return self._hand_on(context, record)

    def trigger_reentry(self, context: Mapping[str, Any], event: dict[str, Any]) -> dict[str, Any]:
        """Go on when the triggerer has seen the pod end, or could not see it any more; raises as `execute`."""
        self._waiting = True
        run = self._resolved(context)
        return self._hand_on(context, self._outcome(context, run, partial(super().trigger_reentry, context, event)))

    def on_kill(self) -> None:
        """Stop waiting for the pod. What becomes of it is decided outside of the signal's handler."""
        if self._waiting:
            self._waiting = False
            self._killed = True
            raise _InterruptedError("SIGTERM")
        if not self._killed:  # else it is being decided: a second signal must neither interrupt nor overrule that
            self._killed = True
            self._delete()

    def find_pod(self, namespace: str, context: Mapping[str, Any], *, exclude_checked: bool = True) -> k8s.V1Pod | None:
        """The job's pod, by its name; None where there is none. Labels may match several pods, a name cannot."""
        del context, exclude_checked
        return find(self.client, self.pod_request_obj.metadata.name, namespace)

    def get_or_create_pod(self, pod_request_obj: k8s.V1Pod, context: Mapping[str, Any]) -> k8s.V1Pod:
        """The job's pod, see `clipfarm_pod_lifecycle.create_or_adopt`."""
        del context
        return create_or_adopt(self.client, pod_request_obj, self.schedule_timeout_seconds)

    def await_pod_start(self, pod: k8s.V1Pod) -> None:
        """Wait for the start; from then on only its own end, its deadline or a person ends the pod."""
        super().await_pod_start(pod)
        self._has_started = True

    def await_pod_completion(self, pod: k8s.V1Pod) -> None:
        """Follow the log, and wait for the end. A log that cannot be read is no reason to give up a job that runs.

        Raises:
            PodNotFoundException: the pod was deleted, or its node is lost.
        """
        try:
            super().await_pod_completion(pod)
        except (AirflowException, ApiException, HTTPError) as error:
            self.log.warning("the log of pod %s cannot be followed any further: %s", pod.metadata.name, error)
        await_end(partial(self._look, pod), pod.metadata.name, self.poll_interval)

    def process_pod_deletion(self, pod: k8s.V1Pod, *, reraise: bool = True) -> bool:
        """Delete this pod, and never its successor of the same name."""
        try:
            delete(self.client, pod)
        except (ApiException, HTTPError) as error:
            if reraise:
                raise
            self.log.warning("pod %s is left to the task delete_pods: %s", pod.metadata.name, error)
        return True

    def convert_config_file_to_dict(self) -> None:
        """The connection alone says where the cluster is: KUBECONFIG would be written down with its credentials."""
        self._config_dict = None

    def cleanup(
        self,
        pod: k8s.V1Pod,
        remote_pod: k8s.V1Pod | None,
        xcom_result: dict[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Look once more before the pod is deleted: how it ended belongs into the sentence a task fails with."""
        if remote_pod is None or self._killed:
            return
        try:
            standing = self._look(remote_pod)
        except (ApiException, HTTPError) as error:
            self.log.warning("how pod %s ended is not known: %s", remote_pod.metadata.name, error)
            return
        if standing is None:
            return
        self.remote_pod = standing
        if self._has_started and is_alive(standing):
            self.log.warning("pod %s goes on: the next try picks it up", standing.metadata.name)
            return
        # It raises for a pod that failed. That is the bucket's to say, and would hide what made this one fail.
        with suppress(AirflowException):
            super().cleanup(pod, standing, xcom_result, context)

    def _look(self, pod: k8s.V1Pod) -> k8s.V1Pod | None:
        """The pod as it is now; None where it is gone, also if another one has its name."""
        try:
            standing = find(self.client, pod.metadata.name, pod.metadata.namespace)
        except ApiException as error:
            if error.status == _UNAUTHORIZED:  # read the credentials again: they may have been renewed
                for name in ("hook", "client", "pod_manager"):
                    self.__dict__.pop(name, None)
            raise
        return standing if standing is not None and standing.metadata.uid == pod.metadata.uid else None

    def _delete(self) -> None:
        if self.pod is not None:
            self.process_pod_deletion(self.pod, reraise=False)

    def _require_no_secret_to_write_down(self) -> None:
        """In deferrable mode the connection's extra becomes part of a row of the database.

        Raises:
            AirflowFailException: it holds a whole kubeconfig.
        """
        if self.deferrable and "kube_config" in self.hook.conn_extras:
            raise AirflowFailException(
                f"expected kube_config_path or in_cluster in connection {self.kubernetes_conn_id!r}, got kube_config: "
                f"with {PREFIX}DEFERRABLE its credentials would be written down with the trigger"
            )

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
        return Job(run.run_id, run.config.digest, self.strategy, self.horizon, self.family)

    def _finished(self, run: StepContext, *, reused: bool) -> SnapshotRecord | None:
        from clipfarm_tasks.steps.finished_job import finished_job

        try:
            return finished_job(run, self.strategy, self.horizon, self.family, reused=reused)
        except ClipfarmError as error:
            raise_for_airflow(error)

    def _outcome(self, context: Mapping[str, Any], run: StepContext, run_pod: Callable[[], Any]) -> SnapshotRecord:
        """What the bucket says after the pod has run, whatever the operator makes of the pod's end."""
        error: BaseException | None = None
        self._waiting = True
        try:
            run_pod()
        except _InterruptedError as interruption:
            error = interruption
            self._keep_or_delete(context)
        except (AirflowTaskTimeout, *_POD_ERRORS) as failed:
            error = failed
        finally:
            self._waiting = False
        record = self._finished(run, reused=False)
        job = self._job(run)
        if isinstance(error, AirflowTaskTimeout) and record is None:
            raise error  # Airflow then calls `on_kill`
        if record is None:
            marker = keys.job_snapshot(job.run_id, job.family, job.strategy, job.horizon) + keys.SUCCESS
            raise failure(job, run.store.uri(marker), self.remote_pod or self.pod, error) from error
        if error is not None:
            self.log.warning("%s is finished, although its pod was not seen to succeed: %s", job.task, error)
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

    def _hand_on(self, context: Mapping[str, Any], record: SnapshotRecord) -> dict[str, Any]:
        content = as_xcom("train", record)
        # By hand: with do_xcom_push the provider would add its sidecar.
        context["ti"].xcom_push(key="return_value", value=content)
        return content
