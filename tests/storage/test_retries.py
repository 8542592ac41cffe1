"""One policy of retries: until it works, until the time is over, or until somebody says stop."""

import threading
import time

import pytest

from clipfarm_tasks.errors import ConfigError, TransientError
from clipfarm_tasks.storage.retries import Retries


def failing(times, error=TransientError):
    """A call that fails so many times and then says how often it was made."""
    made = []

    def attempt():
        made.append(threading.get_ident())
        if len(made) <= times:
            raise error(f"attempt {len(made)}")
        return len(made)

    return attempt


@pytest.mark.parametrize("times", [0, 1, 2, 4])
def test_a_call_is_made_until_it_works_and_retries_are_counted(times):
    retries = Retries(60.0)
    assert retries.call(failing(times)) == times + 1
    assert retries.count == times


def test_only_what_is_transient_is_tried_again():
    retries = Retries(60.0)
    with pytest.raises(ConfigError, match="attempt 1"):
        retries.call(failing(3, ConfigError))
    assert retries.count == 0


def test_without_time_for_retries_there_is_one_attempt():
    retries = Retries(0.0)
    with pytest.raises(TransientError, match="attempt 1"):
        retries.call(failing(3))
    assert retries.count == 0


def test_the_error_of_the_last_attempt_is_raised_when_the_time_is_over():
    retries = Retries(0.5)
    with pytest.raises(TransientError) as raised:
        retries.call(failing(1_000))
    assert 0 < retries.count < 999
    assert str(raised.value) == f"attempt {retries.count + 1}"


def test_calls_side_by_side_do_not_share_their_attempts():
    retries, results = Retries(60.0), []
    calls = [
        threading.Thread(target=lambda times=times: results.append((times, retries.call(failing(times)))))
        for times in [0, 1, 2, 3] * 4
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert sorted(results) == sorted((times, times + 1) for times in [0, 1, 2, 3] * 4)
    assert retries.count == (1 + 2 + 3) * 4


def test_who_is_told_to_stop_does_not_wait_for_the_retries():
    retries, told = Retries(600.0), []

    def attempt():
        told.append(retries.interrupted.is_set())
        raise TransientError("no answer")

    timer = threading.Timer(0.2, retries.interrupted.set)
    timer.start()
    with pytest.raises(TransientError):
        retries.call(attempt)
    timer.join()
    assert sum(told) <= 1, "expected no attempt after the one that a pause ended in"


@pytest.mark.parametrize("works", ["for long", "and brings something"])
def test_an_attempt_that_worked_before_it_broke_does_not_use_up_the_time(works):
    """Each attempt outlasts the time for retries, as a download of an hour does."""
    retries, made = Retries(0.02, 0.03 if works == "for long" else 60.0), []

    def attempt():
        made.append(time.sleep(0.06))
        if works != "for long":
            retries.progress()
        if len(made) < 4:
            raise TransientError("in the middle")
        return len(made)

    assert retries.call(attempt) == 4


def test_what_always_breaks_in_the_middle_ends_too(monkeypatch):
    monkeypatch.setattr("clipfarm_tasks.storage.retries._LONGEST_PAUSE_S", 0.1)  # and not 20 s of pauses in all
    retries = Retries(0.01)
    with pytest.raises(TransientError):
        retries.call(lambda: time.sleep(0.02) or failing(1)())
    assert 0 < retries.count <= 11


def test_what_an_inner_call_has_given_up_is_not_tried_again():
    inner, outer = Retries(0.0), Retries(60.0)
    with pytest.raises(TransientError, match="attempt 1"):
        outer.call(lambda: inner.call(failing(3)))
    assert (inner.count, outer.count) == (0, 0)
