"""One pod by its name: create it, find it, make room for it. Safe to repeat at any point.

No plugin: imported where a pod is started only.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import tenacity
from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import WaitRetryAfterOrExponential
from airflow.providers.cncf.kubernetes.utils.container import container_is_completed
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodNotFoundException, PodPhase
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from clipfarm_pod_answer import (
    CONFLICT,
    FORBIDDEN,
    NOT_FOUND,
    asked_again,
    is_full,
    is_passing,
    message_of,
    told,
)
from clipfarm_pod_request import CONTAINER
from clipfarm_pod_verdict import was_deleted
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubernetes.client import CoreV1Api

_REFUSED = (400, FORBIDDEN, NOT_FOUND, 422)
_TRIES = 6
_POLL_S = 1.0
_QUOTA_POLL_S = 10.0  # room comes when another pod ends, which takes minutes
# Beyond a pod's grace period. Then its node is lost, and nobody is left to confirm that it ended.
_CONFIRMED_WITHIN_S = 60.0

log = logging.getLogger(__name__)


def find(client: CoreV1Api, name: str, namespace: str) -> k8s.V1Pod | None:
    """The pod of this name, or None."""
    try:
        return _repeating(client.read_namespaced_pod)(name, namespace)
    except ApiException as error:
        if error.status == NOT_FOUND:
            return None
        raise


def find_all(client: CoreV1Api, namespace: str, labels: Mapping[str, str]) -> list[k8s.V1Pod]:
    """Every pod that has these labels."""
    selector = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    found: list[k8s.V1Pod] = _repeating(client.list_namespaced_pod)(namespace, label_selector=selector).items
    return found


def create_or_adopt(client: CoreV1Api, pod: k8s.V1Pod, quota_patience_s: float) -> k8s.V1Pod:
    """Create the pod, or return the one of its name that is there and alive; one that has ended makes room.

    Args:
        client: the cluster.
        pod: what to create.
        quota_patience_s: seconds to wait while a quota is full, as a pod waits for a node that is.

    Raises:
        AirflowFailException: the cluster refuses such a pod.
        AirflowException: the quota stays full, or a pod that has ended cannot be removed.
    """
    name, namespace = pod.metadata.name, pod.metadata.namespace
    deadline = time.monotonic() + quota_patience_s
    for _ in range(_TRIES):
        try:
            return _create_with_room(client, pod, deadline)
        except _ConflictError as conflict:
            log.info("%s", conflict)
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


def await_end(look: Callable[[], k8s.V1Pod | None], name: str, poll_s: float) -> None:
    """Return when the pod has ended.

    Args:
        look: reads the pod; None where it is gone.
        name: of the pod, for messages.
        poll_s: seconds between two looks.

    Raises:
        PodNotFoundException: it was deleted; also when its node is lost and cannot confirm that.
    """
    given_up_at: float | None = None
    while True:
        pod = pod_now(look, name, poll_s)
        if pod.status.phase in PodPhase.terminal_states or container_is_completed(pod, CONTAINER):
            return
        if pod.metadata.deletion_timestamp is not None:
            given_up_at = given_up_at or time.monotonic() + _patience_s(pod)
            if time.monotonic() > given_up_at:
                raise PodNotFoundException(f"expected pod {name} to end after it was deleted, got no word of its node")
        time.sleep(poll_s)


def pod_now(look: Callable[[], k8s.V1Pod | None], name: str, poll_s: float) -> k8s.V1Pod:
    """The pod as it is now. A cluster that does not answer is waited for: its nodes go on working.

    Raises:
        PodNotFoundException: it was deleted.
    """
    while True:
        try:
            pod = look()
        except (ApiException, HTTPError) as error:
            if not is_passing(error):
                raise
            log.warning("the cluster does not tell about pod %s: %s", name, told(error))
            time.sleep(poll_s)
            continue
        if pod is None:
            raise PodNotFoundException(was_deleted(name, None))
        return pod


class _ConflictError(Exception):
    """There is a pod of this name, or two requests counted the same quota."""


class _QuotaError(AirflowException):
    """The quota of the namespace is full."""


def _create_with_room(client: CoreV1Api, pod: k8s.V1Pod, deadline: float) -> k8s.V1Pod:
    """Create the pod as soon as the quota has room for it, and say once how full that is, and when that changes."""
    said = ""
    while True:
        try:
            return _create(client, pod)
        except _QuotaError as error:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise
            if str(error) != said:
                said = str(error)
                log.info("waiting: %s", said)
            time.sleep(min(_QUOTA_POLL_S, left_s))


def _create(client: CoreV1Api, pod: k8s.V1Pod) -> k8s.V1Pod:
    where = f"{pod.metadata.namespace}/{pod.metadata.name}"
    try:
        # A conflict is not repeated as the provider would: after a lost answer it says that the pod is there.
        return _repeating(client.create_namespaced_pod)(namespace=pod.metadata.namespace, body=pod)
    except ApiException as error:
        if error.status == CONFLICT:
            raise _ConflictError(f"a conflict for pod {where}: {message_of(error)}") from error
        if is_full(error):
            raise _QuotaError(f"expected room for pod {where} in its quota, got {message_of(error)}") from error
        if error.status in _REFUSED:
            raise AirflowFailException(f"expected the cluster to accept pod {where}, got {told(error)}") from error
        raise


def _repeating(request: Callable[..., Any]) -> Callable[..., Any]:
    """The request, repeated while its answer may change."""
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(_TRIES),
        wait=WaitRetryAfterOrExponential(),
        retry=tenacity.retry_if_exception(is_passing),
        before_sleep=asked_again,
        reraise=True,
    )
    return retrying.wraps(request)


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
        _repeating(client.delete_namespaced_pod)(pod.metadata.name, pod.metadata.namespace, body=options)
    except ApiException as error:
        if error.status not in (NOT_FOUND, CONFLICT):
            raise


def _patience_s(pod: k8s.V1Pod) -> float:
    return float(pod.spec.termination_grace_period_seconds or 0) + _CONFIRMED_WITHIN_S
