"""What moving the objects of one vector table costs."""

import time

from clipfarm_tasks.contracts import Throughput
from clipfarm_tasks.storage import Store
from clipfarm_tasks.vectors.update import Updated


class Meter:
    """Counts what moving the objects of one table costs."""

    def __init__(self, store: Store) -> None:
        """Start the clock."""
        self._store = store
        self._retries = store.retries
        self._start = time.perf_counter()
        self.objects = 0
        self.bytes = 0

    def add(self, body: bytes) -> None:
        """Count one object."""
        self.objects += 1
        self.bytes += len(body)

    def stop(self, updated: Updated) -> Throughput:
        """The figures so far."""
        seconds = time.perf_counter() - self._start
        return Throughput(
            objects=self.objects,
            bytes=self.bytes,
            seconds=round(seconds, 3),
            objects_per_s=round(self.objects / seconds, 1),
            retries=self._store.retries - self._retries,
            cached=updated.cached,
            quarantined=len(updated.quarantined),
        )
