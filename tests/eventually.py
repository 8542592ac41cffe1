"""Waiting for what other threads and processes do, which takes as long as the machine needs."""

import time

PATIENCE_S = 600  # only a test that fails waits that long


def eventually(condition, limit_s=PATIENCE_S):
    """Wait until ``condition`` holds; returns what it gave."""
    deadline = time.monotonic() + limit_s
    while not (given := condition()):
        assert time.monotonic() < deadline, f"expected {condition} within {limit_s} s, got {given!r}"
        time.sleep(0.02)
    return given
