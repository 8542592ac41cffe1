"""What an answer of the Kubernetes API means: its one sentence, and whether the next answer may be another one.

No plugin: imported where a pod is started only, because the Kubernetes client costs every process that imports it.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import tenacity
from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from kubernetes.client.exceptions import ApiException
from kubernetes_asyncio.client.exceptions import ApiException as AsyncApiException
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernetes.client import ApiClient

UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT = 401, 403, 404, 409
_BUSY = (429, 500, 502, 503, 504)
_QUOTA = "exceeded quota"
# Two refusals of admission that no second request changes. Every other 403 may come from a server that is starting: it
# refuses whatever it has not read the rules for yet, be it a role, a service account or a plugin of its own.
_SURELY_MEANT = (_QUOTA, "violates PodSecurity")
_BELIEVED_AFTER_S = 60.0
_ASKED_EVERY_S = 2.0

log = logging.getLogger(__name__)


class PatientHook(KubernetesHook):
    """A connection to the cluster whose every request is repeated for a minute before a 403 is believed."""

    def get_conn(self) -> ApiClient:
        """The client of the connection."""
        client = super().get_conn()
        client.call_api = believed(tenacity.Retrying).wraps(client.call_api)
        return client


def believed(retrying: Callable[..., Any]) -> Any:
    """The rule of `PatientHook`, for another kind of tenacity's ``Retrying``."""
    return retrying(
        stop=tenacity.stop_after_delay(_BELIEVED_AFTER_S),
        wait=tenacity.wait_fixed(_ASKED_EVERY_S),
        retry=tenacity.retry_if_exception(is_doubtful),
        before_sleep=asked_again,
        reraise=True,
    )


def is_doubtful(error: BaseException) -> bool:
    """Whether a request is forbidden in a way that a server which has just started forbids everything."""
    return (
        isinstance(error, ApiException | AsyncApiException)
        and error.status == FORBIDDEN
        and not any(words in str(error.body) for words in _SURELY_MEANT)
    )


def is_full(error: ApiException) -> bool:
    """Whether the quota of the namespace has no room for the pod."""
    return error.status == FORBIDDEN and _QUOTA in str(error.body)


def is_passing(error: BaseException) -> bool:
    """Whether the next answer may be another one; a token that is being renewed is refused for a while."""
    if isinstance(error, ApiException):
        return error.status in (UNAUTHORIZED, *_BUSY)
    return isinstance(error, HTTPError)


def told(error: BaseException) -> str:
    """What an error says, in one line and without the headers of its response."""
    if not isinstance(error, ApiException | AsyncApiException):
        return one_line(str(error))
    return one_line(f"{error.status or 'no'} {error.reason or 'answer'}: {message_of(error)}").removesuffix(":")


def message_of(error: ApiException) -> str:
    """The sentence of the Status object in the body; the body as it is where that is none."""
    try:
        status = json.loads(error.body)
    except (TypeError, ValueError):
        return str(error.body or "")
    return str(status.get("message", "")) if isinstance(status, dict) else str(status)


def one_line(text: str) -> str:
    """The words of a text, separated by single blanks."""
    return " ".join(text.split())


def asked_again(state: tenacity.RetryCallState) -> None:
    """Log why a request is repeated; for tenacity's ``before_sleep``."""
    error = state.outcome.exception() if state.outcome is not None else None
    if error is not None:
        log.warning("the cluster is asked again: %s", told(error))
