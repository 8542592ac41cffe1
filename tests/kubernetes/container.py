"""A container: a subprocess in a session of its own, and its log with the time of every line."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from tests.kubernetes.cluster_state import Signal

_NANO = 1_000_000_000
_READ_WITHIN_S = 2.0  # what a process that left its session keeps open is not waited for any longer


class ContainerLog:
    """Lines as written, each with the nanosecond it was read at; closed when the container has ended."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, bytes]] = []
        self.closed = False
        self._changed = Signal()

    def write(self, lines: Sequence[bytes]) -> None:
        self.lines += [(time.time_ns(), line) for line in lines]
        self._changed.fire()

    def close(self) -> None:
        self.closed = True
        self._changed.fire()

    def text(self) -> str:
        return "".join(line.decode(errors="replace") + "\n" for _, line in self.lines)

    async def follow(self, start: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        """Lines from number ``start`` on, until the log is closed."""
        number = start
        while True:
            while number < len(self.lines):
                yield self.lines[number]
                number += 1
            if self.closed:
                return
            await self._changed.wait()

    async def reaches(self, count: int) -> None:
        """Wait for so many lines, or the end."""
        while len(self.lines) < count and not self.closed:
            await self._changed.wait()


def stamp(nanoseconds: int) -> str:
    """RFC 3339 with nine digits, as the kubelet writes it before a line."""
    moment = datetime.fromtimestamp(nanoseconds // _NANO, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds % _NANO:09d}Z"


class Container:
    """A running command; its output goes to ``log``."""

    def __init__(self, process: asyncio.subprocess.Process, reading: asyncio.Task[None], log: ContainerLog) -> None:
        self.pid = process.pid
        self._process = process
        self._life = asyncio.create_task(self._live(reading, log))

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: ContainerLog
    ) -> "Container":
        """Start a command.

        Raises:
            OSError: there is no such program.
        """
        reader, writer = os.pipe()  # of its own: asyncio would take the end of the output for the end of the process
        with os.fdopen(writer, "wb"):
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=writer,
                    stderr=asyncio.subprocess.STDOUT,
                    env=dict(environment),
                    cwd=folder,
                    start_new_session=True,
                )
            except (OSError, asyncio.CancelledError):
                os.close(reader)
                raise
        return cls(process, asyncio.create_task(_read(reader, log)), log)

    @property
    def ended(self) -> bool:
        """Whether its first process has ended."""
        return self._process.returncode is not None

    async def wait(self) -> int:
        """Exit status as a container reports it (128 + signal); the log is complete and nothing of it runs on."""
        return await asyncio.shield(self._life)

    def terminate(self) -> None:
        """SIGTERM to the first process only, as the kubelet does."""
        if not self.ended:
            with suppress(ProcessLookupError):
                self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to all of it."""
        if not self.ended:
            self._signal_all(signal.SIGKILL)

    async def _live(self, reading: asyncio.Task[None], log: ContainerLog) -> int:
        code = await self._process.wait()
        self._signal_all(signal.SIGKILL)  # a container ends with its first process
        await asyncio.wait([reading], timeout=_READ_WITHIN_S)
        reading.cancel()
        log.close()
        return code if code >= 0 else 128 - code

    def _signal_all(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)


async def _read(reader: int, log: ContainerLog) -> None:
    stream = asyncio.StreamReader()
    with os.fdopen(reader, "rb", 0) as pipe:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), pipe
        )
        rest = b""
        try:
            while chunk := await stream.read(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                log.write(lines)
            if rest:
                log.write([rest])
        finally:
            transport.close()
