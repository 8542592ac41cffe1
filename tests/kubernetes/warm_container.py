"""A container forked from a process that has imported what a training job needs: each pod takes 4 s less."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.kubernetes.container import Container, ContainerLog, _read
from tests.warm_python import FORKS, become

_PROGRAM = ["python", "-m", "clipfarm_tasks"]


class WarmContainer(Container):
    """Runs ``python -m clipfarm_tasks`` in a fork, in a session of its own; any other command as a container does."""

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: ContainerLog
    ) -> Container:
        """Start a command.

        Raises:
            OSError: there is no such program.
        """
        if list(command[:3]) != _PROGRAM or "PYTHONHOME" in environment:  # which is for an interpreter that starts
            return await Container.start(command, environment, folder, log)
        reader, writer = FORKS.Pipe(duplex=False)
        with reader, writer:
            process = FORKS.Process(target=_run, args=(command[1:], environment, folder, writer), daemon=True)
            process.start()
            output = os.dup(reader.fileno())
        with suppress(ProcessLookupError):
            while os.getsid(process.pid) != process.pid:  # noqa: ASYNC110 - the kernel tells nobody of a new session
                await asyncio.sleep(0.001)  # until then nobody can signal all of it
        return cls(_Forked(process), asyncio.create_task(_read(output, log)), log)


class _Forked:
    """What `Container` uses of asyncio's process."""

    def __init__(self, process: ForkServerProcess) -> None:
        self.pid = process.pid
        self._process = process

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def terminate(self) -> None:
        self._process.terminate()

    async def wait(self) -> int:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._process.sentinel, ended.set)
        await ended.wait()
        loop.remove_reader(self._process.sentinel)
        return self._process.exitcode


def _run(arguments: Sequence[str], environment: Mapping[str, str], folder: Path, output: Connection) -> None:
    os.setsid()
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output.fileno(), stream.fileno())
        stream.reconfigure(line_buffering=True)
    output.close()
    become(arguments, environment, folder)
