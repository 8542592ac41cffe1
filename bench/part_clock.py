"""Wall time and peak memory by named part, for telling where a run's time and memory went."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.peak_memory import peak_bytes


class PartClock:
    """Notes what each part took; parts may run side by side in threads.

    Attributes:
        seconds: wall time by part, in the order in which the parts ended.
        peak_bytes: peak memory of the process up to the end of each part.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peak_bytes: dict[str, int] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Note the time of the block as ``name``'s; each part is entered once."""
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began
        self.peak_bytes[name] = peak_bytes()
