"""When to give up waiting: not after a time, which a slow machine needs, but when nothing happens any more."""

import time
from collections.abc import Callable
from typing import Any

STALLED_AFTER_S = 600.0  # longer than a server or a task needs from one sign of life to the next, on any machine


class Patience:
    """Tells when what is watched has stayed the same for too long.

    Examples:
        >>> clock = iter([0.0, 500.0, 900.0, 1600.0])
        >>> patience = Patience(600.0, clock.__next__)
        >>> [patience.is_lost(seen) for seen in ("starting", "running", "running")]
        [False, False, True]
    """

    def __init__(self, limit_s: float = STALLED_AFTER_S, clock: Callable[[], float] = time.monotonic) -> None:
        """Wait up to ``limit_s`` seconds from one change to the next; ``clock`` tells seconds."""
        self.limit_s = limit_s
        self._clock = clock
        self._seen: Any = None
        self._changed_at = clock()

    def is_lost(self, seen: Any) -> bool:
        """Whether ``seen`` has been the same for longer than the limit."""
        now = self._clock()
        if seen != self._seen:
            self._seen, self._changed_at = seen, now
        return now - self._changed_at > self.limit_s
