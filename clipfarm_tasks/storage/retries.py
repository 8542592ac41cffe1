"""The one retry policy of all S3 traffic: jittered exponential backoff within a time limit, counted, interruptible."""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event, stop_after_delay, stop_any
from tenacity.stop import stop_when_event_set
from tenacity.wait import wait_random_exponential

from clipfarm_tasks.errors import TransientError

log = logging.getLogger(__name__)
_T = TypeVar("_T")
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0


class Retries:
    """Calls that are tried again for as long as they fail with a `TransientError`; for any number of threads.

    Attributes:
        count: tries that were not the first of their call.
        interrupted: set by whoever is told to stop, who must not wait until threads have used up their retries.
    """

    def __init__(self, limit_s: float) -> None:
        """``limit_s``: seconds of retries after a call's first try before its error is raised."""
        self.count = 0
        self.interrupted = threading.Event()
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._retrying = Retrying(
            wait=wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=_LONGEST_PAUSE_S),
            stop=stop_any(stop_after_delay(limit_s), stop_when_event_set(self.interrupted)),
            retry=retry_if_exception_type(TransientError),
            sleep=sleep_using_event(self.interrupted),
            before_sleep=self._note,
            reraise=True,
        )

    def call(self, attempt: Callable[[], _T]) -> _T:
        """The result of the first attempt that succeeds, or its error if that is not a `TransientError`.

        Raises:
            TransientError: that of the last attempt within the time limit.
        """
        try:
            return attempt()
        except TransientError as error:
            failed: list[TransientError] = [error]

        def again() -> _T:
            if failed:  # the first attempt, made without what tenacity costs: few calls need another
                raise failed.pop()
            return attempt()

        return self._retrying(again)  # tenacity keeps the state of a call by thread

    def _note(self, state: RetryCallState) -> None:
        with self._lock:
            self.count += 1
            first = self.count == 1
        if first and state.outcome is not None:
            log.warning("retrying for up to %g s: %s", self._limit_s, state.outcome.exception())
