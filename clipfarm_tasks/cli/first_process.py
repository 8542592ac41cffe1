"""A container's first process: the kernel gives it no default handlers, so without its own it would ignore SIGTERM."""

import os
import signal
from types import FrameType

_FIRST = 1


def end_on_sigterm() -> None:
    """End on SIGTERM where this is a container's first process; elsewhere the default does the same.

    Without waiting for requests under way: what was published is whole, and what was not is repeated by the next try.
    NOTE: Python runs the handler between two of its own instructions, so a long call of a library is finished first.
    """
    if os.getpid() == _FIRST:
        signal.signal(signal.SIGTERM, _end)


def _end(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)
