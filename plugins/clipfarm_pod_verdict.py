"""Why a pod left no snapshot, in one line, and whether another try can help.

No plugin: imported where a pod is started only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException
from clipfarm_pod_answer import one_line, told
from clipfarm_pod_request import CONTAINER
from kubernetes.config.config_exception import ConfigException

from clipfarm_tasks.deployment.pods import PREFIX
from clipfarm_tasks.errors import ConfigError

if TYPE_CHECKING:
    from clipfarm_pod_request import Job
    from kubernetes.client import models as k8s

_OUT_OF_MEMORY = "OOMKilled"
_SCHEDULED = "PodScheduled"
_BY_SIGNAL = 128  # exit codes from here on: something else ended the container


def failure(job: Job, expected: str, pod: k8s.V1Pod | None, error: BaseException | None) -> AirflowException:
    """The error a task fails with.

    Args:
        job: what was to be trained.
        expected: address of the marker that is not there.
        pod: the pod as it was last seen, if it was.
        error: what the operator made of it; None where it took the pod's end for a success.

    Returns:
        AirflowFailException, which is never retried, when the job itself said that its settings or data are wrong, or
        when the cluster cannot be reached as configured; AirflowException otherwise.
    """
    if isinstance(error, AirflowFailException):
        return error
    if isinstance(error, AirflowNotFoundException | ConfigException):
        return AirflowFailException(f"{job.task}: expected a connection to a Kubernetes cluster, got: {error}")
    ended = _terminated(pod)
    sentence = one_line(f"{job.task}: expected {expected}, got none: {_what_happened(job, pod, ended, error)}")
    if ended is not None and ended.exit_code == ConfigError.exit_code:
        return AirflowFailException(sentence)
    return AirflowException(sentence)


def was_deleted(name: str, seen: k8s.V1Pod | None) -> str:
    """The sentence on a pod that is gone; ``seen`` is its last state, where nobody adds that later."""
    last = "" if seen is None else f"; it was last seen {_state(seen)}"
    return f"expected pod {name} until it ends, got none: it was deleted{last}"


def _terminated(pod: k8s.V1Pod | None) -> k8s.V1ContainerStateTerminated | None:
    """How the container of the job ended, if it is known."""
    statuses = (pod.status.container_statuses or []) if pod is not None and pod.status is not None else []
    return next((status.state.terminated for status in statuses if status.name == CONTAINER and status.state), None)


def _what_happened(
    job: Job,
    pod: k8s.V1Pod | None,
    ended: k8s.V1ContainerStateTerminated | None,
    error: BaseException | None,
) -> str:
    said = "" if error is None else told(error)
    if pod is None:
        return said or "the pod is gone"
    name = f"pod {pod.metadata.name}"
    if ended is None:
        state = f"{name} ({_state(pod)})"
        # Evicted or past its deadline before the container ran: there is nothing to add to that.
        return state if pod.status.reason else f"{state}: {said or 'how it ended is not known'}"
    reason = _reasons(pod)
    return f"{name}{f' ({reason})' if reason else ''} {_end(job, pod, ended)}"


def _end(job: Job, pod: k8s.V1Pod, ended: k8s.V1ContainerStateTerminated) -> str:
    end = f"ended with exit code {ended.exit_code} ({ended.reason or 'no reason given'})"
    if ended.reason == _OUT_OF_MEMORY:
        return f"{end}; raise {PREFIX}{job.family.upper()}_MEMORY_MIB"
    # The end of its log, and the last line of that is the sentence it failed with: unless it was cut short.
    lines = (ended.message or "").strip().splitlines()
    if pod.status.reason or ended.exit_code >= _BY_SIGNAL or not lines:
        return end
    return f"{end}: {lines[-1]}"


def _state(pod: k8s.V1Pod) -> str:
    return _reasons(pod) or str(pod.status.phase)


def _reasons(pod: k8s.V1Pod) -> str:
    """What the cluster says about the pod: evicted, past its deadline, no node has room, a Secret is missing."""
    status = pod.status
    reasons = [(status.reason, status.message)]
    reasons += [(one.reason, one.message) for one in status.conditions or [] if one.type == _SCHEDULED]
    waiting = [one.state.waiting for one in status.container_statuses or [] if one.state and one.state.waiting]
    reasons += [(one.reason, one.message) for one in waiting]
    return "; ".join(f"{reason}: {message}" if message else reason for reason, message in reasons if reason)
