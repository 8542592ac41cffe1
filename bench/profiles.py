"""Where the time of training went, for rows that miss their target."""

import os
import time
from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

_GROUPS = {
    "matrix products": ("addmm", "::mm", "bmm", "matmul", "linear"),
    "gather of rows": ("index", "gather", "embedding", "::stack", "::cat"),
    "optimizer": ("foreach", "_fused_adam", "addcdiv", "addcmul", "lerp"),
}
_OTHER = "other operators of torch"


def operator_groups(call: Callable[[], object]) -> dict[str, float]:
    """Own seconds of torch's operators during a call, by what they are for, and what passed outside of them."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # else the profiler's library writes two lines to stderr
    began = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        call()
    wall = time.perf_counter() - began
    groups = dict.fromkeys((*_GROUPS, _OTHER), 0.0)
    for event in found.key_averages():
        groups[_group(event.key)] += event.self_cpu_time_total / 1e6
    groups["outside torch's operators (Python, NumPy, the profiler)"] = wall - sum(groups.values())
    return {name: round(seconds, 3) for name, seconds in groups.items()}


def _group(operator: str) -> str:
    for name, signs in _GROUPS.items():
        if any(sign in operator for sign in signs):
            return name
    return _OTHER
