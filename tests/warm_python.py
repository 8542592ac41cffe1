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
    """A running ``python -m MODULE`` or ``python -c SCRIPT``; of `subprocess.Popen` it has what its users need."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.args = list(arguments)
        self._outputs = tempfile.TemporaryDirectory(prefix="clipfarm-warm-")
        self._files = [Path(self._outputs.name) / name for name in ("stdout", "stderr")]
        self._process = FORKS.Process(target=_run, args=(self.args, dict(environment), folder, self._files))
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it has printed, once it has ended."""
        self._process.join(timeout)
        if self.returncode is None:
            self._process.kill()
            self._process.join()
            raise subprocess.TimeoutExpired(self.args, timeout)
        out, errors = (file.read_text() for file in self._files)
        self._outputs.cleanup()
        return out, errors


def run_warm(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, timeout: float
) -> subprocess.CompletedProcess:
    """As `subprocess.run` with captured text."""
    program = WarmPython(arguments, environment, folder)
    out, errors = program.communicate(timeout)
    return subprocess.CompletedProcess(program.args, program.returncode, out, errors)


def _run(arguments: Sequence[str], environment: Mapping[str, str], folder: Path, files: Sequence[Path]) -> None:
    for stream, file in zip((sys.stdout, sys.stderr), files, strict=True):
        with file.open("wb") as output:
            os.dup2(output.fileno(), stream.fileno())
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
