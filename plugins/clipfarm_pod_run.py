"""Runs the pod of one job: the provider's operator, told how long to wait, whose pod it is and when to let it be.

No plugin: imported where a pod is started only, because the Kubernetes client costs every process that imports it.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodNotFoundException, PodPhase
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from clipfarm_pod_answer import UNAUTHORIZED, PatientHook, told
from clipfarm_pod_lifecycle import await_end, create_or_adopt, delete, find, is_alive, pod_now
from clipfarm_pod_start import Start
from clipfarm_pod_trigger import TrainingPodTrigger
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from clipfarm_tasks.deployment.pods import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
    from kubernetes.client import models as k8s

    from clipfarm_tasks.deployment.pods import PodSettings

POD_ERRORS = (AirflowException, ApiException, ConfigException, HTTPError, OSError)


class PodRun(KubernetesPodOperator):
    """One try at running a pod.

    Args:
        settings: what the pods of the job's family are like.
        spec: the pod.
        kwargs: of BaseOperator.
    """

    def __init__(self, *, settings: PodSettings, spec: k8s.V1Pod, **kwargs: Any) -> None:
        super().__init__(
            full_pod_spec=spec,
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
            # In the triggerer; there it means that a person ended the task.
            on_kill_action="delete_pod",
            **kwargs,
        )
        self._has_started = False  # in this process; the triggerer waits elsewhere

    @cached_property
    def hook(self) -> PatientHook:
        """The connection to the cluster."""
        return PatientHook(conn_id=self.kubernetes_conn_id)

    @property
    def last_seen(self) -> k8s.V1Pod | None:
        """The pod as it was last seen, if it was."""
        return self.remote_pod or self.pod

    def start(self, context: Mapping[str, Any]) -> None:
        """Create the pod, and wait for its end or leave that to the triggerer.

        As ``execute``, which Airflow wants nobody to call but its task runner.

        Raises:
            AirflowFailException: the settings or the cluster's rules are wrong; retrying cannot help.
            TaskDeferred: the triggerer goes on.
        """
        self._require_no_secret_to_write_down()
        (self.execute_async if self.deferrable else self.execute_sync)(context)

    def go_on(self, context: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Go on after the triggerer's event.

        Raises:
            PodNotFoundException: the pod is gone, and the triggerer had not seen it succeed.
        """
        told_by_trigger = {name: value for name, value in event.items() if name != "stack_trace"}
        try:
            self.trigger_reentry(context, told_by_trigger)
        except PodNotFoundException as error:
            said = event.get("message", "its container has ended")
            raise PodNotFoundException(said if event["status"] == "error" else f"{said}, and it is gone") from error

    def let_be(self) -> None:
        """Leave the pod alone when this try ends; what becomes of it is decided elsewhere."""
        self._killed = True

    def delete(self) -> None:
        """Delete the pod, if there is one."""
        if self.pod is not None:
            self.process_pod_deletion(self.pod, reraise=False)

    def defer(self, *, trigger: KubernetesPodTrigger, **kwargs: Any) -> None:
        """Hand the pod to the trigger of this project instead of the provider's."""
        super().defer(trigger=TrainingPodTrigger(**trigger.serialize()[1]), **kwargs)

    def find_pod(self, namespace: str, context: Mapping[str, Any], *, exclude_checked: bool = True) -> k8s.V1Pod | None:
        """The job's pod, by its name; None where there is none. Labels may match several pods, a name cannot."""
        del context, exclude_checked
        return find(self.client, self.pod_request_obj.metadata.name, namespace)

    def get_or_create_pod(self, pod_request_obj: k8s.V1Pod, context: Mapping[str, Any]) -> k8s.V1Pod:
        """The job's pod, see `clipfarm_pod_lifecycle.create_or_adopt`."""
        del context
        return create_or_adopt(self.client, pod_request_obj, self.schedule_timeout_seconds)

    def await_pod_start(self, pod: k8s.V1Pod) -> None:
        """Wait for the start; from then on only its own end, its deadline or a person ends the pod.

        Raises:
            PodLaunchTimeoutException: it took too long, or will never happen.
            PodNotFoundException: the pod was deleted.
            AirflowException: it failed before its container ran.
        """
        start = Start(self.schedule_timeout_seconds, self.startup_timeout_seconds)
        check_s = self.startup_check_interval_seconds
        while not start.has_happened(seen := pod_now(partial(self._look, pod), pod.metadata.name, check_s)):
            time.sleep(check_s)
        if seen.status.phase == PodPhase.FAILED and not seen.status.container_statuses:
            raise AirflowException("it failed before its container ran")
        self._has_started = True

    def await_pod_completion(self, pod: k8s.V1Pod) -> None:
        """Follow the log, and wait for the end. A log that cannot be read is no reason to give up a job that runs.

        Raises:
            PodNotFoundException: the pod was deleted, or its node is lost.
        """
        try:
            super().await_pod_completion(pod)
        except (AirflowException, ApiException, HTTPError) as error:
            self.log.warning("the log of pod %s cannot be followed any further: %s", pod.metadata.name, told(error))
        await_end(partial(self._look, pod), pod.metadata.name, self.poll_interval)

    def process_pod_deletion(self, pod: k8s.V1Pod, *, reraise: bool = True) -> bool:
        """Delete this pod, and never its successor of the same name."""
        try:
            delete(self.client, pod)
        except (ApiException, HTTPError) as error:
            if reraise:
                raise
            self.log.warning("pod %s is left to the task delete_pods: %s", pod.metadata.name, told(error))
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
            self.log.warning("how pod %s ended is not known: %s", remote_pod.metadata.name, told(error))
            return
        if standing is None:
            return
        if self._has_started and is_alive(standing):
            self.log.warning("pod %s goes on: the next try picks it up", standing.metadata.name)
            return
        # It raises for a pod that failed. That is the bucket's to say, and would hide what made this one fail.
        with suppress(AirflowException):
            super().cleanup(pod, standing, xcom_result, context)

    def _look(self, pod: k8s.V1Pod) -> k8s.V1Pod | None:
        """The pod as it is now; None where it is gone, also if another one has its name."""
        try:
            found = find(self.client, pod.metadata.name, pod.metadata.namespace)
        except ApiException as error:
            if error.status == UNAUTHORIZED:  # read the credentials again: they may have been renewed
                for name in ("hook", "client", "pod_manager"):
                    self.__dict__.pop(name, None)
            raise
        if found is None or found.metadata.uid != pod.metadata.uid:
            return None
        self.remote_pod = found
        return found

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
