"""Calls in threads: bounded in number and weight, and gone when the consumer, the process or a call says so."""

import itertools
import random
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest

from clipfarm_tasks.storage.parallel import in_parallel
from tests.eventually import PATIENCE_S, eventually


@pytest.fixture
def interrupted():
    return threading.Event()


def s3_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("s3")]


@pytest.mark.parametrize("limit", [1, 2, 7, 50])
def test_every_argument_is_called_once(interrupted, limit):
    results = list(in_parallel(lambda number: (number, number**2), range(30), limit, interrupted))
    assert sorted(results) == [(number, number**2) for number in range(30)]
    assert list(in_parallel(str, [], limit, interrupted)) == []


def test_what_arrives_first_comes_first(interrupted):
    def call(seconds):
        time.sleep(seconds)
        return seconds

    assert list(in_parallel(call, [0.3, 0.0, 0.15], 3, interrupted)) == [0.0, 0.15, 0.3]


@pytest.mark.parametrize("seed", range(5))
def test_never_more_weight_than_the_cap_under_way_or_unconsumed(interrupted, seed):
    """A heavier one passes alone; what a call or the consumer has is counted at both ends of its way."""
    chance = random.Random(seed)
    cap, limit = 100, 8
    weights = [chance.choice([0, 1, 30, 45, 60, 100, 101, 5_000]) for _ in range(200)]
    lock, held, peaks = threading.Lock(), [], []

    def call(number):
        with lock:
            held.append(weights[number])
            peaks.append((sum(held), len(held)))
        time.sleep(weights[number] % 7 / 5_000)
        return number

    consumed = []
    for number in in_parallel(call, range(200), limit, interrupted, weigh=weights.__getitem__, cap=cap):
        consumed.append(number)
        time.sleep(chance.random() / 2_000)
        with lock:
            held.remove(weights[number])
    assert sorted(consumed) == list(range(200))
    assert all(weight <= cap or count == 1 for weight, count in peaks)
    assert max(count for _, count in peaks) <= limit
    assert max(weight for weight, _ in peaks if weight <= cap) > cap / 2
    assert any(weight == 5_000 for weight, _ in peaks)


def test_a_consumer_that_is_slow_holds_the_calls_back(interrupted):
    drawn, called = [], []
    arriving = in_parallel(
        called.append, (drawn.append(n) or n for n in range(100)), 50, interrupted, weigh=lambda _: 40, cap=100
    )
    next(arriving)
    eventually(lambda: (len(called), len(drawn)) == (2, 3))  # one argument waits for its turn
    time.sleep(0.1)
    assert (len(called), len(drawn)) == (2, 3)
    next(arriving)
    eventually(lambda: (len(called), len(drawn)) == (3, 4))
    time.sleep(0.1)
    assert (len(called), len(drawn)) == (3, 4)
    arriving.close()


def test_a_result_that_was_consumed_takes_no_memory_while_the_next_is_waited_for(interrupted):
    class Body:
        pass

    consumed = []

    def call(number):
        if number == 1:
            return Body()
        return eventually(lambda: consumed and consumed[0]() is None)

    arriving = in_parallel(call, range(2), 2, interrupted)
    consumed.append(weakref.ref(next(arriving)))
    assert next(arriving) is True


def test_an_error_comes_in_the_place_of_a_result_and_ends_the_rest(interrupted):
    called = []

    def call(number):
        called.append(number)
        return 12 // (3 - number)

    arriving = in_parallel(call, itertools.count(), 1, interrupted)
    assert list(itertools.islice(arriving, 3)) == [4, 6, 12]
    with pytest.raises(ZeroDivisionError):
        next(arriving)
    assert called == [0, 1, 2, 3]
    assert s3_threads() == []
    assert not interrupted.is_set()


def test_an_error_of_the_arguments_reaches_the_consumer(interrupted):
    def arguments():
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(in_parallel(str, arguments(), 4, interrupted))
    assert s3_threads() == []


def test_a_consumer_that_stops_early_leaves_no_thread_and_starts_no_call(interrupted):
    called = []
    arriving = in_parallel(lambda number: called.append(number) or time.sleep(0.05), itertools.count(), 4, interrupted)
    next(arriving)
    arriving.close()
    count = len(called)
    assert s3_threads() == []
    time.sleep(0.2)
    assert len(called) == count <= 5
    assert not interrupted.is_set()


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_who_is_told_to_end_does_not_wait_for_the_calls(interrupted, number, raised):
    """The calls wait for ``interrupted`` as the pauses between retries do; without it this would take a minute."""
    # A shell starts what runs in its background with SIGINT ignored.
    handler = signal.default_int_handler if number == signal.SIGINT else lambda *_: sys.exit(143)
    before = signal.signal(number, handler)
    main = threading.main_thread().ident
    timer = threading.Timer(0.2, signal.pthread_kill, [main, number])
    ended_early = []
    try:
        timer.start()
        with pytest.raises(raised):
            list(in_parallel(lambda _: ended_early.append(interrupted.wait(60)), range(10), 4, interrupted))
    finally:
        timer.join()
        signal.signal(number, before)
    assert interrupted.is_set()
    assert ended_early == [True] * len(ended_early) != []
    assert s3_threads() == []


def test_a_process_ends_although_its_consumer_went_away_without_closing(repository):
    """As after an error in the consumer's own code, whose traceback keeps the generator alive."""
    program = (
        "import itertools, threading\n"
        "from clipfarm_tasks.storage.parallel import in_parallel\n"
        "arriving = in_parallel(str, itertools.count(), 8, threading.Event(), weigh=lambda _: 1, cap=4)\n"
        "next(arriving)\n"
        "raise SystemExit(7)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=repository, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 7
