"""Looks after a pod in the triggerer: the provider's trigger, as patient as the worker is.

No plugin: imported where a pod is started, and by the triggerer, which finds it by the path it was written down with.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import tenacity
from airflow.providers.cncf.kubernetes.triggers.pod import ContainerState, KubernetesPodTrigger
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodNotFoundException
from airflow.sdk.exceptions import AirflowException
from clipfarm_pod_answer import NOT_FOUND, believed, told
from clipfarm_pod_start import Start
from clipfarm_pod_verdict import was_deleted
from kubernetes_asyncio.client.exceptions import ApiException

if TYPE_CHECKING:
    from kubernetes_asyncio.client.models import V1Pod


class TrainingPodTrigger(KubernetesPodTrigger):
    """Waits until the pod has started and ended, or until it never will; the arguments are the provider's."""

    _seen: V1Pod | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The path of this class, and its arguments."""
        return f"{__name__}.{type(self).__name__}", super().serialize()[1]

    async def _wait_for_pod_start(self) -> ContainerState:
        start = Start(self.schedule_timeout, self.startup_timeout)
        while True:
            pod = await self._get_pod()
            if start.has_happened(pod):
                return self.define_pod_container_state(pod)
            await asyncio.sleep(self.startup_check_interval)

    async def _get_pod(self) -> V1Pod:
        """The pod as it is now; what the event says of an error becomes the sentence that the task fails with."""
        try:
            self._seen = await believed(tenacity.AsyncRetrying)(super()._get_pod)
        except ApiException as error:
            if error.status == NOT_FOUND:
                raise PodNotFoundException(was_deleted(self.pod_name, self._seen)) from error
            raise AirflowException(told(error)) from error
        return self._seen
