"""Whether a pod has started, still may, or never will. Pure but for the clock: the worker and the triggerer look.

No plugin: imported where a pod is started only.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from airflow.providers.cncf.kubernetes.utils.pod_manager import PodLaunchTimeoutException, PodPhase
from clipfarm_pod_answer import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernetes.client import models as k8s

_NEVER_PULLED = ("InvalidImageName", "ErrImageNeverPull")
_NOT_PULLED = ("ErrImagePull", "ImagePullBackOff")
# The provider knows some words of a registry that is down and gives up at all others. Here it is the other way round:
# these are the words of registries and runtimes for an image that is not there, or not for us.
_NOT_THERE = re.compile(
    r"not found|(manifest|name) unknown|not exist|denied|unauthorized|forbidden|authorization failed|"
    r"no basic auth|invalid reference|no match for platform",
    re.IGNORECASE,
)
# They may stand beside words of a network that is down, as in "failed to authorize: ...: i/o timeout".
_NOT_REACHED = re.compile(
    r"dial tcp|lookup |no such host|connection (refused|reset)|timeout|timed out|\bEOF\b|unreachable|no route|"
    r"unavailable|bad gateway|server error|too ?many ?requests|rate limit|qps|status[^:]*: 5\d\d",
    re.IGNORECASE,
)


class PodRefusedError(PodLaunchTimeoutException):
    """The pod will never start.

    Of the provider's kind for "too late": its trigger says `timeout` then, and nobody waits for the end of such a pod.
    """


class Start:
    """The start of one pod.

    Args:
        schedule_timeout_s: seconds until a node has room.
        startup_timeout_s: seconds from then on until the container runs; a registry that is down has as long to return.
        clock: seconds of a clock that never goes back.
    """

    def __init__(
        self, schedule_timeout_s: float, startup_timeout_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits_s = {False: schedule_timeout_s, True: startup_timeout_s}
        self._clock = clock
        self._since = clock()
        self._has_node = False

    def has_happened(self, pod: k8s.V1Pod) -> bool:
        """Whether the pod has left the phase before its start, as it is seen now; a pod that has ended has.

        Raises:
            PodRefusedError: its image is not there.
            PodLaunchTimeoutException: it took too long.
        """
        if pod.status.phase not in (None, PodPhase.PENDING, PodPhase.UNKNOWN):
            return True
        if refusal := _refusal(pod):
            raise PodRefusedError(f"Image cannot be pulled: {refusal}")
        if not self._has_node and _has_node(pod):
            self._has_node, self._since = True, self._clock()
        limit_s = self._limits_s[self._has_node]
        if self._clock() - self._since >= limit_s:
            what = "start" if self._has_node else "be scheduled"
            raise PodLaunchTimeoutException(f"Pod took too long to {what}: more than {limit_s:g} s")
        return False


def _has_node(pod: k8s.V1Pod) -> bool:
    return any(one.type == "PodScheduled" and one.status == "True" for one in pod.status.conditions or [])


def _refusal(pod: k8s.V1Pod) -> str | None:
    """Why the image of a container is never going to be there; None while it may."""
    images = {container.name: container.image for container in pod.spec.containers}
    for status in pod.status.container_statuses or []:
        waiting = status.state.waiting if status.state else None
        if waiting is None:
            continue
        said = (waiting.message or "").replace(images.get(status.name) or "\0", "")  # a name may hold any word
        is_missing = _NOT_THERE.search(said) and not _NOT_REACHED.search(said)
        if waiting.reason in _NEVER_PULLED or (waiting.reason in _NOT_PULLED and is_missing):
            return one_line(f"{waiting.reason} {waiting.message or ''}")
    return None
