"""The one retry policy of all S3 traffic: jittered exponential backoff within a time limit, counted, interruptible.

The clock counts silence, not work: it starts anew after an attempt that brought something before it broke (`progress`),
or that lasted longer than silence can, ten times at most for one call.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, sleep_using_event
from tenacity.stop import stop_base, stop_when_event_set
from tenacity.wait import wait_random_exponential

from clipfarm_tasks.errors import TransientError

log = logging.getLogger(__name__)
_T = TypeVar("_T")
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_BEYOND_SILENCE = 1.25  # a silent request ends shortly after its time limit
_NEW_STARTS = 10  # of the clock: what always breaks in the middle must end too


class Retries:
    """Calls that are tried again for as long as they fail with a `TransientError`; for any number of threads.

    An error that the retries of an inner call have given up is not tried again.

    Attributes:
        count: tries that were not the first of their call.
        interrupted: set by whoever is told to stop, who must not wait until threads have used up their retries.
    """

    def __init__(self, limit_s: float, silence_s: float | None = None) -> None:
        """Set the limits.

        Args:
            limit_s: seconds of silence after which a call's error is raised.
            silence_s: seconds after which a silent attempt ends by itself; default: ``limit_s``.
        """
        self.count = 0
        self.interrupted = threading.Event()
        self._limit_s = limit_s
        self._working_s = limit_s if silence_s is None else _BEYOND_SILENCE * silence_s
        self._lock = threading.Lock()
        self._of_thread = threading.local()

    def progress(self) -> None:
        """Called within an attempt: something has arrived."""
        self._of_thread.progress = True

    def call(self, attempt: Callable[[], _T]) -> _T:
        """The result of the first attempt that succeeds, or its error if that is not a `TransientError`.

        Raises:
            TransientError: that of the last attempt within the time limit.
        """
        clock = _Clock(self._limit_s)

        def watched() -> _T:
            began, self._of_thread.progress = time.monotonic(), False
            try:
                return attempt()
            except TransientError:
                if self._of_thread.progress or time.monotonic() - began > self._working_s:
                    clock.start_anew()
                raise

        try:
            return watched()
        except TransientError as error:
            failed: list[TransientError] = [error]

        def again() -> _T:
            if failed:  # the first attempt, made without what tenacity costs: few calls need another
                raise failed.pop()
            return watched()

        retrying = Retrying(
            wait=wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=_LONGEST_PAUSE_S),
            stop=clock | stop_when_event_set(self.interrupted),
            retry=retry_if_exception(lambda error: isinstance(error, TransientError) and not error.retried),
            sleep=sleep_using_event(self.interrupted),
            before_sleep=self._note,
            reraise=True,
        )
        try:
            return retrying(again)
        except TransientError as error:
            error.retried = True
            raise

    def _note(self, state: RetryCallState) -> None:
        with self._lock:
            self.count += 1
            first = self.count == 1
        if first and state.outcome is not None:
            log.warning("retrying for up to %g s: %s", self._limit_s, state.outcome.exception())


class _Clock(stop_base):
    """The time of one call."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._starts = 0
        self._since = time.monotonic()

    def start_anew(self) -> None:
        """Begin again, as often as is allowed."""
        if self._starts < _NEW_STARTS:
            self._starts += 1
            self._since = time.monotonic()

    def __call__(self, _: RetryCallState) -> bool:
        """Whether it is over."""
        return time.monotonic() - self._since >= self._limit_s
