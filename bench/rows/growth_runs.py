"""Assemblies of growing synthetic sets, each in a fresh process; shared by the growth and the memory rows."""

from collections.abc import Callable

from bench.buckets import DataSet
from bench.fresh_process import Probe, assemble_in_fresh_process
from bench.sample import Sample, repeated
from bench.workbench import Workbench

Runs = tuple[Sample, list[Probe]]


def growth_runs(bench: Workbench, videos: int) -> Runs:
    """Seconds of cold assemblies of that many synthetic videos, and what each process saw."""

    def measure() -> Runs:
        data_set = bench.buckets.synthetic(videos, bench.plan.width)
        return _measure(bench, data_set, "cold", data_set.clear)

    return bench.once(f"growth {videos}", measure)


def warm_runs(bench: Workbench, videos: int) -> Runs:
    """The same on the tables that the last cold assembly left: nothing has changed since."""
    growth_runs(bench, videos)
    data_set = bench.buckets.synthetic(videos, bench.plan.width)
    return bench.once(f"warm {videos}", lambda: _measure(bench, data_set, "warm", lambda: None))


def _measure(bench: Workbench, data_set: DataSet, kind: str, prepare: Callable[[], object]) -> Runs:
    probes: list[Probe] = []

    def run() -> float:
        probes.append(assemble_in_fresh_process(data_set))
        return probes[-1].seconds

    seconds = repeated(run, bench.plan.repeats, prepare)
    bench.say(f"{data_set.label}, {kind}: {seconds.median:.1f} s, peak {probes[-1].peak_bytes / 1e6:,.0f} MB")
    return seconds, probes
