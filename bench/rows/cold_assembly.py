"""Cold assembly against the first script, and against the floor: the same objects fetched and thrown away."""

import tempfile
import time
from pathlib import Path

import numpy as np

from bench.assembly import phases_line
from bench.baseline import FirstScript
from bench.cpu_time import counted
from bench.floor import measure_floor, wanted_keys
from bench.result import Row
from bench.rows.cold_runs import ColdRuns, cold_runs
from bench.sample import Sample, ratio, repeated
from bench.workbench import Workbench
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.models.inputs import F32

SPEEDUP = 25.0
OVER_FLOOR = 1.5


def cold_assembly(bench: Workbench) -> list[Row]:
    """Two rows: against the baseline, whose arrays must be equal, and against the floor."""
    cold = cold_runs(bench)
    profile = cold.last.seconds_by_part | cold.cpu
    return [_against_baseline(bench, cold, profile), _against_floor(bench, cold, profile)]


def check_equal(expected: dict[str, F32], got: dict[str, F32]) -> None:
    """Refuse to compare the speed of two results that differ.

    Raises:
        DataError: an array is missing or differs; names it.
    """
    if expected.keys() != got.keys():
        raise DataError(f"expected the arrays {', '.join(expected)}, got {', '.join(got)}, in the baseline")
    for name, array in expected.items():
        if not np.array_equal(array, got[name]):
            raise DataError(f"expected the same array of both, got another, in {name} of the baseline")


def _against_baseline(bench: Workbench, cold: ColdRuns, profile: dict[str, float]) -> Row:
    data_set = bench.assembly_set()

    def run() -> float:
        with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
            script = FirstScript(bench.boto_client(), data_set.store.bucket, Path(folder))
            began = time.perf_counter()
            arrays = script.everything()
            seconds = time.perf_counter() - began
        check_equal(cold.last.arrays, arrays)
        return seconds

    baseline = repeated(run, bench.plan.repeats)
    bench.say(f"baseline: {baseline.median:.1f} s")
    found = ratio(baseline, cold.seconds)
    return Row(
        name="cold assembly, baseline",
        what=f"cold assembly of {data_set.label}",
        against="first script: one download_file per object in turn, one lazy npz member access per row",
        target=f"≥ {SPEEDUP:g} x faster",
        measured=found.value,
        unit="x faster",
        spread=found.spread,
        runs=found.runs,
        reached=found.value >= SPEEDUP,
        note=f"{phases_line(cold.last.seconds_by_phase)}; the baseline's arrays are equal",
        values=_values(cold, {"baseline_s": baseline}),
        profile=profile if found.value < SPEEDUP else {},
    )


def _against_floor(bench: Workbench, cold: ColdRuns, profile: dict[str, float]) -> Row:
    data_set = bench.assembly_set()
    wanted = wanted_keys(data_set.store)
    floor = measure_floor(bench.plain_client(data_set), wanted, bench.plan.repeats)
    with counted([bench.server.process]) as cpu:
        floor.run()
    profile |= {f"{name} at the floor": seconds for name, seconds in cpu.items()}
    bench.say(f"floor: {floor.seconds.median:.2f} s with {floor.how}")
    found = ratio(cold.seconds, floor.seconds)
    return Row(
        name="cold assembly, floor",
        what=f"cold assembly of {data_set.label}",
        against=f"the same {len(wanted):,} objects fetched by obstore ({floor.how}), bytes thrown away",
        target=f"≤ {OVER_FLOOR:g} x the floor",
        measured=found.value,
        unit="x the floor",
        spread=found.spread,
        runs=found.runs,
        reached=found.value <= OVER_FLOOR,
        note=phases_line(cold.last.seconds_by_phase),
        values=_values(cold, {"floor_s": floor.seconds}),
        profile=profile if found.value > OVER_FLOOR else {},
    )


def _values(cold: ColdRuns, others: dict[str, Sample]) -> dict[str, float]:
    counts = {"objects_n": cold.last.objects, "object_bytes_n": cold.last.object_bytes}
    return {"cold_s": cold.seconds.median, **{name: sample.median for name, sample in others.items()}, **counts}
