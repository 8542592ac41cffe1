"""Many calls side by side in threads, with a bound on how many are under way and on what they weigh together."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_A = TypeVar("_A")
_T = TypeVar("_T")


def in_parallel(
    call: Callable[[_A], _T],
    arguments: Iterable[_A],
    limit: int,
    interrupted: threading.Event,
    weigh: Callable[[_A], int] = lambda _: 0,
    cap: int = 0,
) -> Iterator[_T]:
    """Results in order of arrival; an error of a call is raised in the place of its result.

    Args:
        call: what is done with each argument, in a thread.
        arguments: drawn one by one, at most one before its turn.
        limit: most calls under way and results not consumed.
        interrupted: set when the process is told to end, so that the threads do not use up their retries first.
        weigh: weight of an argument's call, bytes for example; nothing by default.
        cap: most weight of calls under way and results not consumed; a call that weighs more still passes, alone.

    A result is consumed when the next one is asked for.

    Threads, not asyncio: obstore lets go of the GIL while it waits, so 64 threads fetch as fast as its coroutines for
    60 % of their CPU time; and a coroutine's callback that meets the end of the interpreter aborts the process. The
    threads are handed their arguments and never wait for the consumer: one that goes away for good blocks nobody.
    """
    arrived: queue.SimpleQueue[Future[_T]] = queue.SimpleQueue()
    weights: dict[Future[_T], int] = {}
    load = 0

    def start(argument: _A, weight: int) -> None:
        nonlocal load
        future = pool.submit(call, argument)
        weights[future] = weight
        load += weight
        future.add_done_callback(arrived.put)

    def until(calls: int, weight: int) -> Iterator[_T]:
        nonlocal load
        while len(weights) > calls or (weights and load > weight):
            future = arrived.get()
            yield future.result()
            load -= weights.pop(future)
            del future  # and with it the result, which is not counted any more

    with ThreadPoolExecutor(limit, thread_name_prefix="s3") as pool:
        try:
            for argument in arguments:
                weight = weigh(argument)
                yield from until(limit - 1, cap - weight)
                start(argument, weight)
            yield from until(0, cap)
        except (KeyboardInterrupt, SystemExit):
            interrupted.set()
            raise
