"""Many calls side by side in threads, with a bound on how many are under way."""

import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_A = TypeVar("_A")
_T = TypeVar("_T")


def in_parallel(
    call: Callable[[_A], _T], arguments: Iterable[_A], limit: int, interrupted: threading.Event
) -> Iterator[_T]:
    """Results in order of arrival, with at most ``limit`` calls under way and no argument drawn before its turn.

    Sets ``interrupted`` when the process is told to end, so that the threads do not use up their retries first.

    Threads, not asyncio: obstore lets go of the GIL while it waits, so 64 threads fetch as fast as its coroutines for
    60 % of their CPU time; and a coroutine's callback that meets the end of the interpreter aborts the process.
    """
    waiting = iter(arguments)
    arrived: queue.SimpleQueue[Future[_T]] = queue.SimpleQueue()
    with ThreadPoolExecutor(limit, thread_name_prefix="s3") as pool:
        under_way = 0
        try:
            while True:
                for argument in itertools.islice(waiting, limit - under_way):
                    pool.submit(call, argument).add_done_callback(arrived.put)
                    under_way += 1
                if not under_way:
                    return
                yield arrived.get().result()
                under_way -= 1
        except (KeyboardInterrupt, SystemExit):
            interrupted.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
