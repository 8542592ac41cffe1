"""A container's first process: the kernel gives it no default handlers, so without its own it would ignore SIGTERM."""

import os
import signal
from types import FrameType

_FIRST = 1


def end_on_sigterm() -> None:
    """End at once on SIGTERM where this is a container's first process; elsewhere the default does the same.

    At once: what was published is whole, and what was not is found and repeated by the next try. Waiting for requests
    under way would only use up the pod's grace period.
    """
    if os.getpid() == _FIRST:
        signal.signal(signal.SIGTERM, _end)


def _end(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)
