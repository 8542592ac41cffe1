"""Cold assemblies, measured once and shared by the rows that compare with them."""

from dataclasses import dataclass

from bench.assembly import Assembled, assemble
from bench.cpu_time import counted
from bench.sample import Sample, repeated
from bench.workbench import Workbench


@dataclass(frozen=True)
class ColdRuns:
    """Assemblies of one data set from nothing.

    Attributes:
        seconds: of each run.
        last: what the last one returned.
        cpu: CPU seconds of the last one, by process.
    """

    seconds: Sample
    last: Assembled
    cpu: dict[str, float]


def cold_runs(bench: Workbench) -> ColdRuns:
    """Cold assemblies of the assembly set; vector tables and runs are deleted before each."""
    return bench.once("cold runs", lambda: _measure(bench))


def _measure(bench: Workbench) -> ColdRuns:
    data_set = bench.assembly_set()
    found: list[tuple[Assembled, dict[str, float]]] = []

    def run() -> float:
        with counted([bench.server.process]) as cpu:
            assembled = assemble(data_set.store)
        found.append((assembled, cpu))
        return assembled.seconds

    seconds = repeated(run, bench.plan.repeats, prepare=data_set.clear)
    bench.say(f"cold assembly: {seconds.median:.2f} s")
    return ColdRuns(seconds, *found[-1])
