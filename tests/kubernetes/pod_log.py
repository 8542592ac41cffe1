"""A pod's log over HTTP."""

import time
from contextlib import suppress
from datetime import datetime

from aiohttp import ClientConnectionError, web

from tests.kubernetes.api_error import ApiError
from tests.kubernetes.cluster_state import Object
from tests.kubernetes.container import ContainerLog, stamp
from tests.kubernetes.pod_worker import PodWorker

_NANO = 1_000_000_000
_TRUE = {"true", "True", "1"}


async def send_log(request: web.Request, pod: Object, worker: PodWorker) -> web.StreamResponse:
    """The lines so far, or with ``follow`` all until the container ends; 400 before it started."""
    _require_log(request, pod, worker)
    since = _since(request)
    start = _start(worker.log, request.query.get("tailLines"))
    timestamps = request.query.get("timestamps") in _TRUE
    follow = request.query.get("follow") in _TRUE
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    with suppress(ClientConnectionError):
        if follow:
            async for moment, line in worker.log.follow(start):
                if moment >= since:
                    await response.write(_line(moment, line, timestamps=timestamps))
        else:
            lines = [_line(*read, timestamps=timestamps) for read in worker.log.lines[start:] if read[0] >= since]
            await response.write(b"".join(lines))
    return response


def _require_log(request: web.Request, pod: Object, worker: PodWorker) -> None:
    name, container = worker.name, request.query.get("container", worker.spec["name"])
    if container != worker.spec["name"]:
        raise ApiError(400, f"container {container} is not valid for pod {name}")
    if worker.log_refusal == 404:
        raise ApiError(404, f"the server could not find the requested resource ( pods/log {name})")
    if worker.log_refusal is not None:
        raise ApiError(worker.log_refusal, 'Get "https://10.0.0.1:10250/containerLogs": no route to host')
    if "nodeName" not in pod["spec"]:
        raise ApiError(400, f"pod {name} does not have a host assigned")
    if not (statuses := pod["status"].get("containerStatuses")):
        raise ApiError(400, f'container "{container}" in pod "{name}" is not available')
    if waiting := statuses[0]["state"].get("waiting"):
        raise ApiError(400, f'container "{container}" in pod "{name}" is waiting to start: {waiting["reason"]}')
    if request.query.get("previous") in _TRUE:
        raise ApiError(400, f'previous terminated container "{container}" in pod "{name}" not found')


def _since(request: web.Request) -> int:
    if seconds := request.query.get("sinceSeconds"):
        return time.time_ns() - int(seconds) * _NANO
    if moment := request.query.get("sinceTime"):
        return int(datetime.fromisoformat(moment).timestamp() * _NANO)
    return 0


def _start(log: ContainerLog, tail: str | None) -> int:
    return 0 if tail is None else max(0, len(log.lines) - int(tail))


def _line(moment: int, line: bytes, *, timestamps: bool) -> bytes:
    return (stamp(moment).encode() + b" " if timestamps else b"") + line + b"\n"
