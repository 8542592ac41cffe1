"""Python programs forked from a process that has imported what the package needs: each starts seconds sooner.

What a program does is what a new interpreter would do. That a new one finds all it imports is shown elsewhere: by the
README's commands, and by the workers of a run, which are new processes.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from clipfarm_tasks.families import Family
from clipfarm_tasks.steps.catalog import STEPS

PRELOADED = (
    ["boto3", "lance", "skops.io", "clipfarm_tasks.cli.app", "clipfarm_tasks.sample.write"]
    + [f"clipfarm_tasks.cli.{name}" for name in ("maintenance_table", "rebuild", "run_pipeline", "run_step")]
    + [f"clipfarm_tasks.steps.{name}" for name in ("resolve_run", *STEPS, "maintain", "check_freshness")]
    + [f"clipfarm_tasks.models.{family}" for family in Family]
)
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(PRELOADED)


class WarmPython:
    """A running ``python -m MODULE`` or ``python -c SCRIPT``; of `subprocess.Popen` it has what its users need.

    Attributes:
        stdin: where it reads, if it ``talks``.
        stdout: where it then prints to.
    """

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, *, talks: bool = False
    ) -> None:
        self.args = list(arguments)
        self._outputs = tempfile.TemporaryDirectory(prefix="clipfarm-warm-")
        self._files = [Path(self._outputs.name) / name for name in ("stdout", "stderr")]
        reads, writes = FORKS.Pipe(duplex=False), FORKS.Pipe(duplex=False)
        streams = (reads[0], writes[1], self._files[1]) if talks else (None, *self._files)
        self._process = FORKS.Process(target=_run, args=(self.args, dict(environment), folder, *streams))
        self._process.start()
        self.pid = self._process.pid
        self.stdin, self.stdout = os.fdopen(os.dup(reads[1].fileno()), "w"), os.fdopen(os.dup(writes[0].fileno()))
        for end in (*reads, *writes):
            end.close()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            self.kill()
            self._process.join()
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it has printed, once it has ended."""
        self.wait(timeout)
        with self.stdin, self.stdout, self._outputs:
            said = self.stdout.read()
            out, errors = (file.read_text() if file.exists() else said for file in self._files)
        return out, errors


def run_warm(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, timeout: float
) -> subprocess.CompletedProcess:
    """As `subprocess.run` with captured text."""
    program = WarmPython(arguments, environment, folder)
    out, errors = program.communicate(timeout)
    return subprocess.CompletedProcess(program.args, program.returncode, out, errors)


def _run(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, *streams: Connection | Path | None
) -> None:
    for number, stream in enumerate(streams):
        if stream is not None:
            with stream.open("wb") if isinstance(stream, Path) else stream as opened:
                os.dup2(opened.fileno(), number)
    if streams[0] is not None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it is open
    become(arguments, environment, folder)


def become(arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
    """In a fork: be the program."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    multiprocessing.process.ORIGINAL_DIR = str(folder)  # where the processes start that it starts
    option, what, *others = arguments
    sys.argv = [what if option == "-m" else option, *others]
    if option == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - a script of the test's own
