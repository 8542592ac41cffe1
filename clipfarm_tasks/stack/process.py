"""One server process: started in a session of its own, stopped with everything it started."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from clipfarm_tasks.stack.errors import StackError

_TAIL_LINES = 20
_KILLED_WITHIN_S = 60.0
_GONE = (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError, PermissionError)


class ServerProcess:
    """A child process whose output goes to a log file.

    It leads a new session: a Ctrl-C in the terminal reaches only the parent, which then stops its servers in order.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Start ``command``; ``name`` is what messages call it.

        Raises:
            StackError: the program does not exist.
        """
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(environment),
                    start_new_session=True,
                    umask=0o077,  # for data, logs and sockets
                )
        except OSError as error:
            raise StackError(
                f"expected the program of {name} at {command[0]}, got: {error.strerror}; run make install"
            ) from error

    @property
    def pid(self) -> int:
        """Process id, session id and process group id."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Exit status, None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def require_running(self) -> None:
        """Check that it has not stopped by itself.

        Raises:
            StackError: it has; shows its last lines.
        """
        if (code := self.exit_code()) is not None:
            raise StackError(f"expected {self.name} to keep running, got exit status {code}; {self.last_words()}")

    def wait(self, timeout_s: float) -> None:
        """Wait for a command that ends by itself.

        Raises:
            StackError: it failed, or runs longer than ``timeout_s`` seconds.
        """
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise StackError(
                f"expected {self.name} to finish within {timeout_s:g} s, got no end; {self.last_words()}"
            ) from None
        if code != 0:
            raise StackError(f"expected {self.name} to succeed, got exit status {code}; {self.last_words()}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.exit_code() is None:
            self._process.send_signal(number)

    def reap(self, timeout_s: float) -> bool:
        """Collect the exit status if it comes within ``timeout_s`` seconds; whether it did."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
            return True
        return False

    def last_words(self) -> str:
        """The end of its log, for an error message."""
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return f"end of {self.log}:\n" + "\n".join(f"  {line}" for line in lines) if lines else f"{self.log} is empty"

    def members(self) -> set[psutil.Process]:
        """It and everything it started that still runs, also what lost its parent or made its own process group."""
        found: set[psutil.Process] = set()
        for process in psutil.process_iter():
            with suppress(*_GONE):
                if os.getsid(process.pid) == self.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.add(process)
        with suppress(psutil.NoSuchProcess):
            found.update(psutil.Process(self.pid).children(recursive=True))
        return found


def stop(servers: Iterable[ServerProcess], grace_s: float) -> None:
    """Stop the servers together: SIGTERM to each, and after ``grace_s`` seconds SIGKILL to whatever is left of them."""
    running = list(servers)
    members = {process for server in running for process in server.members()}
    deadline = time.monotonic() + grace_s
    for server in running:
        server.send(signal.SIGTERM)
    for server in running:
        server.reap(max(0.0, deadline - time.monotonic()))
    members |= {process for server in running for process in server.members()}
    leaders = {server.pid for server in running}  # collected by reap alone, or their exit status would be lost
    others = [process for process in members if process.pid not in leaders]
    _, alive = psutil.wait_procs(others, timeout=max(0.0, deadline - time.monotonic()))
    for process in alive:
        with suppress(*_GONE):
            process.kill()
    for server in running:
        server.send(signal.SIGKILL)
        server.reap(_KILLED_WITHIN_S)
    psutil.wait_procs(alive, timeout=_KILLED_WITHIN_S)
