"""What the API server checks about a pod before it keeps it, and the defaults it fills in.

The typed models of the Kubernetes client are the schema. Names, labels and resources are checked as the server does.
"""

import json
import re
import secrets
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from kubernetes.client import ApiClient
from kubernetes.utils.quantity import parse_quantity

from tests.kubernetes.api_error import ApiError
from tests.kubernetes.cluster_state import Object

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_DEFAULTS = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "serviceAccountName": "default",
    "securityContext": {},
}
_CONTAINER_DEFAULTS = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}


def parse(body: bytes) -> Object:
    """A JSON object; 400 when it is not one."""
    try:
        parsed = json.loads(body)
    except ValueError as error:
        raise ApiError(400, f"the request body is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise ApiError(400, "the request body is not a JSON object")
    return parsed


def accept(body: Object, namespace: str) -> Object:
    """The pod as the server keeps it, or a refusal: 400 for another namespace, 422 for what is missing or wrong."""
    named = body.get("metadata") or {}
    if named.get("namespace", namespace) != namespace:
        raise ApiError(400, "the namespace of the provided object does not match the namespace sent on the request")
    pod = _typed(body)
    metadata = pod.setdefault("metadata", {})
    metadata["namespace"] = namespace
    if "name" not in metadata and "generateName" in metadata:
        metadata["name"] = metadata["generateName"] + secrets.token_hex(3)[:5]
    if problems := [*_problems(pod)]:
        raise ApiError(422, f'Pod "{metadata.get("name", "")}" is invalid: ' + ", ".join(problems))
    spec = _DEFAULTS | pod["spec"]
    spec["containers"] = [_CONTAINER_DEFAULTS | container for container in spec["containers"]]
    return pod | {"kind": "Pod", "apiVersion": "v1", "spec": spec, "status": {"phase": "Pending"}}


def require_labels(metadata: Object) -> None:
    """422 for a label that the server would not keep."""
    if problems := [*_label_problems(metadata)]:
        raise ApiError(422, f'Pod "{metadata["name"]}" is invalid: ' + ", ".join(problems))


def _typed(body: Object) -> Object:
    client = ApiClient()
    try:
        pod: Object = client.sanitize_for_serialization(
            client.deserialize(SimpleNamespace(data=json.dumps(body)), "V1Pod")
        )
    except ValueError as error:
        raise ApiError(422, f'Pod "{(body.get("metadata") or {}).get("name", "")}" is invalid: {error}') from error
    return pod


def _problems(pod: Object) -> Iterator[str]:
    name = pod["metadata"].get("name", "")
    if not name:
        yield "metadata.name: Required value: name or generateName is required"
    elif len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        yield f'metadata.name: Invalid value: "{name}": a lowercase RFC 1123 subdomain'
    yield from _label_problems(pod["metadata"])
    containers = pod.get("spec", {}).get("containers", [])
    if not containers:
        yield "spec.containers: Required value"
    for position, container in enumerate(containers):
        yield from _container_problems(f"spec.containers[{position}]", container)


def _label_problems(metadata: Object) -> Iterator[str]:
    for key, value in metadata.get("labels", {}).items():
        prefix, slash, name = key.rpartition("/")
        if len(name) > 63 or not _LABEL_NAME.fullmatch(name) or (slash and not _SUBDOMAIN.fullmatch(prefix)):
            yield f'metadata.labels: Invalid value: "{key}": a label key'
        if len(value) > 63 or (value and not _LABEL_NAME.fullmatch(value)):
            yield f'metadata.labels: Invalid value: "{value}": a label value has at most 63 of [-_.A-Za-z0-9]'


def _container_problems(where: str, container: Object) -> Iterator[str]:
    if not _DNS_LABEL.fullmatch(container["name"]) or len(container["name"]) > 63:
        yield f'{where}.name: Invalid value: "{container["name"]}": a lowercase RFC 1123 label'
    if not container.get("image"):
        yield f"{where}.image: Required value"
    resources = container.get("resources", {})
    limits = {name: _quantity(value) for name, value in resources.get("limits", {}).items()}
    requests = {name: _quantity(value) for name, value in resources.get("requests", {}).items()}
    for name, amount in [*limits.items(), *requests.items()]:
        if amount is None:
            yield f"{where}.resources: Invalid value of {name}: not a quantity"
        elif limits.get(name) is not None and amount > limits[name]:
            yield f"{where}.resources.requests: Invalid value of {name}: must be less than or equal to its limit"


def _quantity(value: Any) -> Any:
    try:
        return parse_quantity(value)
    except ValueError:
        return None
