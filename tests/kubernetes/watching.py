"""Which objects a request asks for, and the stream of their changes."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiohttp import ClientConnectionError, web

from tests.kubernetes.cluster_state import Change, ClusterState, Object
from tests.kubernetes.selectors import Selector, by_fields, by_labels


def selected(request: web.Request) -> Selector:
    """Whether an object is of the request's namespace, if it names one, and meets its selectors."""
    namespace = request.match_info.get("namespace")
    labels = by_labels(request.query.get("labelSelector", ""))
    fields = by_fields(request.query.get("fieldSelector", ""))

    def holds(found: Mapping[str, Any]) -> bool:
        return namespace in {None, found["metadata"]["namespace"]} and labels(found) and fields(found)

    return holds


async def send_changes(request: web.Request, state: ClusterState, kind: str) -> web.StreamResponse:
    """All objects as ADDED, or the changes since ``resourceVersion``, then what comes, for ``timeoutSeconds``."""
    holds = selected(request)
    since = int(request.query.get("resourceVersion") or 0)
    position = 0 if since else len(state.changes)
    first = [] if since else [("ADDED", found) for found in state.of_kind(kind) if holds(found)]
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    with suppress(TimeoutError, ClientConnectionError):
        async with asyncio.timeout(float(request.query.get("timeoutSeconds") or 3600)):
            await _write(response, first)
            while True:
                changes = [change for change in state.changes[position:] if _concerns(change, kind, since)]
                position = len(state.changes)
                await _write(response, [(change.type, change.found) for change in changes if holds(change.found)])
                if position == len(state.changes):
                    await state.changed.wait()
    return response


def _concerns(change: Change, kind: str, since: int) -> bool:
    return change.kind == kind and change.version > since


async def _write(response: web.StreamResponse, events: list[tuple[str, Object]]) -> None:
    for event, found in events:
        await response.write(json.dumps({"type": event, "object": found}).encode() + b"\n")
