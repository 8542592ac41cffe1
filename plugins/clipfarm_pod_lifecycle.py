"""One pod by its name: create it, find it, make room for it. Safe to repeat at any point.

No plugin: imported by the operator that is.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import tenacity
from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import (
    WaitRetryAfterOrExponential,
    generic_api_retry,
)
from airflow.providers.cncf.kubernetes.utils.container import container_is_completed
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodNotFoundException, PodPhase
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from clipfarm_pod_request import CONTAINER
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubernetes.client import CoreV1Api

_NOT_FOUND, _CONFLICT = 404, 409
_REFUSED = (400, 401, 403, 404, 422)
_BUSY = (429, 500, 502, 503, 504)
_TRIES = 6
_POLL_S = 1.0
# Beyond a pod's grace period. Then its node is lost, and nobody is left to confirm that it ended.
_CONFIRMED_WITHIN_S = 60.0

log = logging.getLogger(__name__)


def find(client: CoreV1Api, name: str, namespace: str) -> k8s.V1Pod | None:
    """The pod of this name, or None."""
    try:
        return generic_api_retry(client.read_namespaced_pod)(name, namespace)
    except ApiException as error:
        if error.status == _NOT_FOUND:
            return None
        raise


def find_all(client: CoreV1Api, namespace: str, labels: Mapping[str, str]) -> list[k8s.V1Pod]:
    """Every pod that has these labels."""
    selector = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    found: list[k8s.V1Pod] = generic_api_retry(client.list_namespaced_pod)(namespace, label_selector=selector).items
    return found


def create_or_adopt(client: CoreV1Api, pod: k8s.V1Pod) -> k8s.V1Pod:
    """Create the pod, or return the one of its name that is there and alive; one that has ended makes room.

    Raises:
        AirflowFailException: the cluster refuses such a pod.
        AirflowException: a pod that has ended cannot be removed.
    """
    name, namespace = pod.metadata.name, pod.metadata.namespace
    for _ in range(_TRIES):
        if _created(client, pod):
            return pod
        standing = find(client, name, namespace)
        if standing is None:  # gone since, or a quota was being counted, which is a conflict too
            time.sleep(_POLL_S)
        elif is_alive(standing):
            log.info("pod %s of an earlier try is %s: going on with it", name, standing.status.phase)
            return standing
        else:
            log.info("pod %s of an earlier try has ended: replacing it", name)
            _remove(client, standing)
    raise AirflowException(f"expected to create pod {namespace}/{name}, got a conflict {_TRIES} times")


def is_alive(pod: k8s.V1Pod) -> bool:
    """Whether the pod runs, or is going to."""
    return (
        pod.metadata.deletion_timestamp is None
        and pod.status.phase not in PodPhase.terminal_states
        and not container_is_completed(pod, CONTAINER)
    )


def await_end(client: CoreV1Api, name: str, namespace: str, poll_s: float) -> None:
    """Return when the pod has ended.

    Raises:
        PodNotFoundException: it was deleted; also when its node is lost and cannot confirm that.
    """
    given_up_at: float | None = None
    while (pod := find(client, name, namespace)) is not None:
        if pod.status.phase in PodPhase.terminal_states or container_is_completed(pod, CONTAINER):
            return
        if pod.metadata.deletion_timestamp is not None:
            given_up_at = given_up_at or time.monotonic() + _patience_s(pod)
            if time.monotonic() > given_up_at:
                raise PodNotFoundException(f"expected pod {name} to end after it was deleted, got no word of its node")
        time.sleep(poll_s)
    raise PodNotFoundException(f"expected pod {name} until it ends, got none: it was deleted")


def _created(client: CoreV1Api, pod: k8s.V1Pod) -> bool:
    """Create the pod; False on a conflict."""
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(_TRIES),
        wait=WaitRetryAfterOrExponential(),
        retry=tenacity.retry_if_exception(_is_passing),
        before_sleep=tenacity.before_sleep_log(log, logging.WARNING),
        reraise=True,
    )
    try:
        retrying(client.create_namespaced_pod, namespace=pod.metadata.namespace, body=pod)
    except ApiException as error:
        if error.status == _CONFLICT:
            return False
        # A full quota is refused like a missing right, but not for ever.
        if error.status in _REFUSED and "exceeded quota" not in str(error.body):
            raise AirflowFailException(
                f"expected the cluster to accept pod {pod.metadata.namespace}/{pod.metadata.name}, got {error.status} "
                f"{error.reason}: {error.body}"
            ) from error
        raise
    return True


def _is_passing(error: BaseException) -> bool:
    """Whether the next answer may be another one. After a lost answer that is a conflict: the pod is there."""
    return error.status in _BUSY if isinstance(error, ApiException) else isinstance(error, HTTPError)


def _remove(client: CoreV1Api, pod: k8s.V1Pod) -> None:
    """Delete the pod and wait until its name is free; by force when its node does not answer.

    By force, a container may go on running on a node that is cut off. It can do no harm: a second snapshot of a job is
    never published.
    """
    for grace_period_s, patience_s in ((None, _patience_s(pod)), (0, _CONFIRMED_WITHIN_S)):
        delete(client, pod, grace_period_s)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            standing = find(client, pod.metadata.name, pod.metadata.namespace)
            if standing is None or standing.metadata.uid != pod.metadata.uid:
                return
            time.sleep(_POLL_S)
    raise AirflowException(
        f"expected pod {pod.metadata.namespace}/{pod.metadata.name} to be gone after it was deleted, got it still there"
    )


def delete(client: CoreV1Api, pod: k8s.V1Pod, grace_period_s: int | None = None) -> None:
    """Delete this pod, and no other that has its name by now; it may be gone already.

    ``grace_period_s``: seconds between SIGTERM and SIGKILL, by default the pod's own; 0 does not wait for its node.
    """
    options = k8s.V1DeleteOptions(
        preconditions=k8s.V1Preconditions(uid=pod.metadata.uid), grace_period_seconds=grace_period_s
    )
    try:
        generic_api_retry(client.delete_namespaced_pod)(pod.metadata.name, pod.metadata.namespace, body=options)
    except ApiException as error:
        if error.status not in (_NOT_FOUND, _CONFLICT):
            raise


def _patience_s(pod: k8s.V1Pod) -> float:
    return float(pod.spec.termination_grace_period_seconds or 0) + _CONFIRMED_WITHIN_S
