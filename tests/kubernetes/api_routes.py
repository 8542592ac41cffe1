"""What the API server answers: pods with their logs, events, namespaces, version; a Status object to all else."""

import copy
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tests.kubernetes.admission import accept, parse, require_labels
from tests.kubernetes.api_error import ApiError, not_found
from tests.kubernetes.cluster_state import ClusterState, Object
from tests.kubernetes.kubelet import Kubelet
from tests.kubernetes.pod_log import send_log
from tests.kubernetes.pod_worker import Behaviour
from tests.kubernetes.watching import selected, send_changes

_NAMESPACE = "/api/v1/namespaces/{namespace}"
_POD = _NAMESPACE + "/pods/{name}"
_VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.0", "platform": "linux/amd64"}
_MERGES = {"application/merge-patch+json", "application/strategic-merge-patch+json"}
_MUTABLE_SPEC = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds")


class ApiRoutes:
    """Handlers over the state; ``created`` takes every pod as it was sent, ``fate`` says how a new one fares."""

    def __init__(
        self,
        state: ClusterState,
        kubelet: Kubelet,
        namespace: str,
        created: list[Object],
        fate: Callable[[Object], Behaviour],
    ) -> None:
        self._state = state
        self._kubelet = kubelet
        self._namespace = namespace
        self._created = created
        self._fate = fate

    def table(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.get("/version", self._version),
            web.get("/api/v1/namespaces", self._namespaces),
            web.get(_NAMESPACE, self._one_namespace),
            web.get("/api/v1/{kind:pods|events}", self._list),
            web.get(_NAMESPACE + "/{kind:pods|events}", self._list),
            web.post(_NAMESPACE + "/pods", self._create),
            web.delete(_NAMESPACE + "/pods", self._delete_many),
            web.get(_POD, self._get),
            web.get(_POD + "/status", self._get),
            web.patch(_POD, self._patch),
            web.delete(_POD, self._delete),
            web.get(_POD + "/log", self._log),
            web.route("*", _POD + "/exec", self._exec),
            web.route("*", "/{rest:.*}", self._unknown),
        ]

    async def _version(self, _request: web.Request) -> web.Response:
        return web.json_response(_VERSION)

    async def _namespaces(self, _request: web.Request) -> web.Response:
        return web.json_response(_collection("NamespaceList", [_namespace(self._namespace)], self._state.version))

    async def _one_namespace(self, request: web.Request) -> web.Response:
        self._require_namespace(request)
        return web.json_response(_namespace(self._namespace))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        kind = request.match_info["kind"]
        if request.query.get("watch") in {"true", "True", "1"}:
            return await send_changes(request, self._state, kind)
        found = [*filter(selected(request), self._state.of_kind(kind))]
        return web.json_response(
            _collection({"pods": "PodList", "events": "EventList"}[kind], found, self._state.version)
        )

    async def _create(self, request: web.Request) -> web.Response:
        self._require_namespace(request)
        sent = parse(await request.read())
        pod = accept(sent, self._namespace)
        spec = pod["spec"]
        if len(spec["containers"]) != 1 or spec.get("initContainers") or spec["restartPolicy"] != "Never":
            raise ApiError(501, "expected one container and restartPolicy Never: this node runs nothing else")
        pod = self._state.create("pods", pod)
        self._created.append(sent)
        self._kubelet.admit(pod, self._fate(pod))
        return web.json_response(pod, status=201)

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self._pod(request))

    async def _patch(self, request: web.Request) -> web.Response:
        patch = parse(await request.read())
        if request.content_type not in _MERGES:
            raise ApiError(415, f"expected a merge patch, got {request.content_type}")
        pod = self._pod(request)
        merged = merge(pod, patch)
        merged["status"] = pod["status"]
        for name in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp"):
            if merged["metadata"].get(name) != pod["metadata"].get(name):
                raise ApiError(422, f"metadata.{name}: Invalid value: field is immutable")
        if merged["metadata"]["resourceVersion"] != pod["metadata"]["resourceVersion"]:
            raise ApiError(409, "the object has been modified; please apply your changes to the latest version")
        if _fixed(merged["spec"]) != _fixed(pod["spec"]):
            raise ApiError(422, f"spec: Forbidden: pod updates may not change fields other than {_MUTABLE_SPEC}")
        require_labels(merged["metadata"])
        return web.json_response(self._state.update("pods", pod, lambda kept: kept.update(merged)))

    async def _delete(self, request: web.Request) -> web.Response:
        options = await _options(request)
        pod = self._pod(request)
        for name, value in options.get("preconditions", {}).items():
            if value is not None and pod["metadata"][name] != value:
                raise ApiError(409, f"Precondition failed: {name}: expected {value}, got {pod['metadata'][name]}")
        return web.json_response(self._kubelet.delete(pod, _grace(request, options)))

    async def _delete_many(self, request: web.Request) -> web.Response:
        options = await _options(request)
        chosen = [*filter(selected(request), self._state.of_kind("pods"))]
        deleted = [self._kubelet.delete(pod, _grace(request, options)) for pod in chosen]
        return web.json_response(_collection("PodList", deleted, self._state.version))

    async def _log(self, request: web.Request) -> web.StreamResponse:
        pod = self._pod(request)
        return await send_log(request, pod, self._kubelet.workers[pod["metadata"]["uid"]])

    async def _exec(self, request: web.Request) -> web.Response:
        self._pod(request)
        raise ApiError(400, "this node runs no commands in its containers")

    async def _unknown(self, _request: web.Request) -> web.Response:
        raise ApiError(404, "the server could not find the requested resource")

    def _pod(self, request: web.Request) -> Object:
        return self._state.get("pods", request.match_info["namespace"], request.match_info["name"])

    def _require_namespace(self, request: web.Request) -> None:
        if request.match_info["namespace"] != self._namespace:
            raise not_found("namespaces", request.match_info["namespace"])


def merge(found: Any, patch: Any) -> Any:
    """RFC 7386; a strategic merge patch means the same where it names no list."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    kept = found if isinstance(found, dict) else {}
    merged = {name: merge(kept.get(name), value) for name, value in patch.items() if value is not None}
    return {name: value for name, value in kept.items() if name not in patch} | merged


def _fixed(spec: Object) -> Object:
    containers = [container | {"image": ""} for container in spec["containers"]]
    return {name: value for name, value in spec.items() if name not in _MUTABLE_SPEC} | {"containers": containers}


async def _options(request: web.Request) -> Object:
    body = await request.read()
    return parse(body) if body else {}


def _grace(request: web.Request, options: Object) -> int | None:
    grace = request.query.get("gracePeriodSeconds", options.get("gracePeriodSeconds"))
    return None if grace is None else int(json.loads(str(grace)))


def _namespace(name: str) -> Object:
    return {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}, "status": {"phase": "Active"}}


def _collection(kind: str, found: list[Object], version: int) -> Object:
    return {"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": str(version)}, "items": found}
