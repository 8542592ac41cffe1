"""Where the time went, for rows that miss their target."""

import cProfile
import itertools
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

_SHOWN = 8
_GROUPS = {
    "matrix products": ("addmm", "::mm", "bmm", "matmul", "linear"),
    "gather of rows": ("index", "gather", "embedding", "::stack", "::cat"),
    "optimizer": ("foreach", "_fused_adam", "addcdiv", "addcmul", "lerp"),
}
_OTHER = "other operators of torch"


def hot_functions(call: Callable[[], object]) -> dict[str, float]:
    """Own CPU seconds of the functions that took most of them during a call, in this thread and those it starts.

    What waits, for the network or for the interpreter, costs nothing here. Threads that are not Python's are not seen.
    """
    profilers = [cProfile.Profile(time.thread_time)]

    def profile_this_thread(*_: object) -> None:
        profiler = cProfile.Profile(time.thread_time)
        profilers.append(profiler)
        profiler.enable()  # in the place of this function

    threading.setprofile(profile_this_thread)
    try:
        profilers[0].runcall(call)
    finally:
        threading.setprofile(None)
    spent: defaultdict[str, float] = defaultdict(float)
    for entry in itertools.chain.from_iterable(profiler.getstats() for profiler in profilers):
        code = entry.code
        name = code if isinstance(code, str) else f"{Path(code.co_filename).name}:{code.co_name}"
        spent[name] += entry.inlinetime
    hottest = sorted(spent, key=lambda name: -spent[name])[:_SHOWN]
    return {name: round(spent[name], 3) for name in hottest}


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
