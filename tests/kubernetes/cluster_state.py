"""What the API server remembers: objects, and every change of them under its resourceVersion.

One event loop reads and writes it. Objects in it are never changed in place: a snapshot stays what it was.
"""

import asyncio
import copy
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.kubernetes.api_error import ApiError, not_found

Object = dict[str, Any]


class Signal:
    """Wakes everybody who waits, every time."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        await self._event.wait()


@dataclass(frozen=True)
class Change:
    """One event of a watch: ADDED, MODIFIED or DELETED."""

    version: int
    kind: str
    type: str
    found: Object


def now(later_s: float = 0) -> str:
    """The time, or a later one, as Kubernetes writes it into objects: whole seconds."""
    return (datetime.now(UTC) + timedelta(seconds=later_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


class ClusterState:
    """Objects by kind (``pods``, ``events``), namespace and name."""

    def __init__(self) -> None:
        self.version = 1
        self.changes: list[Change] = []
        self.changed = Signal()
        self._objects: dict[tuple[str, str, str], Object] = {}

    def create(self, kind: str, found: Object) -> Object:
        """Keep a new object and return it with what the server adds; 409 when its name is taken."""
        key = (kind, found["metadata"]["namespace"], found["metadata"]["name"])
        if key in self._objects:
            raise ApiError(409, f'{kind} "{key[2]}" already exists', "AlreadyExists")
        found = copy.deepcopy(found)
        found["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
        return self._keep(key, found, "ADDED")

    def get(self, kind: str, namespace: str, name: str) -> Object:
        """One object; 404 when there is none."""
        if (kind, namespace, name) not in self._objects:
            raise not_found(kind, name)
        return self._objects[kind, namespace, name]

    def of_kind(self, kind: str) -> list[Object]:
        """All objects of a kind, in the order of their creation."""
        return [found for (its_kind, _, _), found in self._objects.items() if its_kind == kind]

    def holds(self, kind: str, found: Object) -> bool:
        """Whether this very object, not another of its name, is still there."""
        metadata = found["metadata"]
        kept = self._objects.get((kind, metadata["namespace"], metadata["name"]))
        return kept is not None and kept["metadata"]["uid"] == metadata["uid"]

    def update(self, kind: str, found: Object, change: Callable[[Object], None]) -> Object:
        """Apply ``change`` to a copy of the object and keep that; 404 when the object is gone."""
        metadata = found["metadata"]
        if not self.holds(kind, found):
            raise not_found(kind, metadata["name"])
        key = (kind, metadata["namespace"], metadata["name"])
        changed = copy.deepcopy(self._objects[key])
        change(changed)
        return self._keep(key, changed, "MODIFIED")

    def remove(self, kind: str, found: Object) -> None:
        """Forget an object; nothing when it is gone."""
        if self.holds(kind, found):
            metadata = found["metadata"]
            last = copy.deepcopy(self._objects.pop((kind, metadata["namespace"], metadata["name"])))
            self._note(kind, last, "DELETED")

    def _keep(self, key: tuple[str, str, str], found: Object, event: str) -> Object:
        self._objects[key] = found
        self._note(key[0], found, event)
        return found

    def _note(self, kind: str, found: Object, event: str) -> None:
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        self.changes.append(Change(self.version, kind, event, found))
        self.changed.fire()
