"""Run the rows of the benchmark one after the other against one S3 server."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench.buckets import Buckets
from bench.errors import NotHereError
from bench.machine import describe_machine
from bench.plan import Plan
from bench.result import Report, Row
from bench.rows import ROWS
from bench.workbench import Workbench
from clipfarm_tasks.code_version import code_version
from clipfarm_tasks.errors import ClipfarmError, ConfigError
from clipfarm_tasks.stack.seaweed import SeaweedServer

_BUCKET = "clipfarm-bench"


def measure(
    folder: Path, plan: Plan, only: Sequence[str], console: Console, keep: Callable[[Report], object]
) -> Report:
    """Measure all rows, or those of ``only``, in an empty folder.

    A row that ends in an error of the project's own is reported with its sentence, and the others are measured. Any
    other error passes; ``keep`` was given the report so far after each row before.

    Raises:
        ConfigError: there is no row of a name in ``only``.
        StackError: the S3 server does not start.
    """
    if unknown := [name for name in only if name not in ROWS]:
        raise ConfigError(f"expected rows out of {', '.join(ROWS)}, got {', '.join(unknown)}")
    started_at, began = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    report = Report(
        started_at=started_at, seconds=0.0, commit=code_version().git_sha, machine=describe_machine(), rows=()
    )
    rows: list[Row] = []
    not_measured: dict[str, str] = {}
    failed: dict[str, str] = {}
    with SeaweedServer(folder / "s3", _BUCKET) as server, _variables(server.environment()):
        bench = Workbench(plan, Buckets(server, console), folder, console)
        for name in only or ROWS:
            console.print(f"{name}: start at {_minutes(began)}", highlight=False)
            row_began = time.perf_counter()
            try:
                rows += ROWS[name](bench)
            except NotHereError as error:
                not_measured[name] = str(error)
                console.print(f"  not measured: {error}", markup=False, soft_wrap=True)
            except ClipfarmError as error:
                failed[name] = " ".join(str(error).split())
                console.print(f"  failed: {error}", style="red", markup=False, soft_wrap=True)
            console.print(f"{name}: {time.perf_counter() - row_began:.0f} s", highlight=False)
            report = report.model_copy(
                update={
                    "seconds": round(time.perf_counter() - began, 1),
                    "rows": tuple(rows),
                    "not_measured": not_measured,
                    "failed": failed,
                }
            )
            keep(report)
    return report


@contextmanager
def _variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the block: with them, the processes it starts find the server."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _minutes(began: float) -> str:
    minutes, seconds = divmod(int(time.perf_counter() - began), 60)
    return f"{minutes}:{seconds:02d}"
