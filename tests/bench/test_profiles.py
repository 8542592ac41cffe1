"""A profile names what computes, in whichever thread, and not what waits."""

import threading
import time

from bench.profiles import hot_functions


def spin(seconds):
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        sum(range(1000))


def work():
    thread = threading.Thread(target=spin, args=(0.3,))
    thread.start()
    time.sleep(0.1)
    thread.join()


def test_cpu_time_of_other_threads_counts_and_waiting_does_not():
    hot = hot_functions(work)
    computed = sum(seconds for name, seconds in hot.items() if "spin" in name or "sum" in name or "thread_time" in name)
    assert 0.15 < computed < 0.6
    assert all(seconds < 0.05 for name, seconds in hot.items() if "sleep" in name or "acquire" in name)
    assert threading.getprofile() is None, "later threads run at full speed"
