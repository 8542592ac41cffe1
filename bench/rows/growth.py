"""Assembly of growing synthetic sets: cold against linear growth in time and bytes, and warm at the largest size."""

from bench.assembly import SIDE_BY_SIDE
from bench.result import Row
from bench.rows.growth_runs import growth_runs, warm_runs
from bench.rows.incremental import WARM, fraction_row
from bench.sample import Sample, fitted_line, unevenness
from bench.workbench import Workbench
from clipfarm_tasks.errors import DataError

FLAT = 0.20


def growth(bench: Workbench) -> list[Row]:
    """Three rows; flat means that the largest figure per video is within 20 % of the smallest."""
    sizes = bench.plan.growth_videos
    found = [growth_runs(bench, videos) for videos in sizes]
    warm = _warm(bench, sizes[-1])
    each = "/".join(f"{videos:,}" for videos in sizes)
    seconds = [sample for sample, _ in found]
    line = fitted_line(sizes, [sample.median for sample in seconds])
    fetched = [Sample(tuple(float(probe.object_bytes) for probe in probes)) for _, probes in found]
    size = fitted_line(sizes, [sample.median for sample in fetched])
    phases = {
        f"phase {phase} at {videos:,} videos": 1e3 * spent / videos
        for videos, (_, probes) in zip(sizes, found, strict=True)
        for phase, spent in probes[-1].seconds_by_phase.items()
    }
    return [
        _row(
            "growth, time",
            f"seconds per video of cold assembly at {each} videos, {bench.plan.width} wide, all strategies",
            _per_video(sizes, seconds),
            f"t = {line.intercept:.2f} s + {1e3 * line.slope:.3f} ms x videos; {_listed(sizes, seconds, 1e3, 'ms')}; "
            f"{SIDE_BY_SIDE}",
            {f"at_{videos}_s": sample.median for videos, sample in zip(sizes, seconds, strict=True)},
            phases,
        ),
        _row(
            "growth, bytes",
            f"bytes fetched per video of cold assembly at {each} videos",
            _per_video(sizes, fetched),
            f"bytes = {size.intercept / 1e6:.2f} MB + {size.slope / 1e3:.2f} kB x videos; "
            f"{_listed(sizes, fetched, 1e-3, 'kB')}",
            {f"at_{videos}_bytes_n": sample.median for videos, sample in zip(sizes, fetched, strict=True)},
            {},
        ),
        warm,
    ]


def _row(
    name: str, what: str, per_video: list[Sample], note: str, values: dict[str, float], profile: dict[str, float]
) -> Row:
    found = unevenness(per_video)
    return Row(
        name=name,
        what=what,
        against="linear growth",
        target=f"largest within {100 * FLAT:g} % of the smallest",
        measured=100 * found.value,
        unit="% apart",
        spread=(100 * found.spread[0], 100 * found.spread[1]),
        runs=min(sample.runs for sample in per_video),
        reached=found.value <= FLAT,
        note=note,
        values=values,
        profile=profile if found.value > FLAT else {},
        profile_unit="ms per video",
    )


def _warm(bench: Workbench, videos: int) -> Row:
    cold, _ = growth_runs(bench, videos)
    warm, probes = warm_runs(bench, videos)
    if probes[-1].objects:
        raise DataError(f"expected no object fetched on unchanged input, got {probes[-1].objects}, in the warm run")
    phases = {f"phase {name}": seconds for name, seconds in probes[-1].seconds_by_phase.items()}
    note = f"warm {warm.median:.2f} s, cold {cold.median:.2f} s; a new run in a fresh process; no object was fetched"
    what = f"assembly of {videos:,} synthetic videos, {bench.plan.width} wide, nothing changed"
    return fraction_row(f"warm, {videos:,} videos", what, WARM, warm, cold, phases, note)


def _per_video(sizes: tuple[int, ...], totals: list[Sample]) -> list[Sample]:
    return [total.per(videos) for videos, total in zip(sizes, totals, strict=True)]


def _listed(sizes: tuple[int, ...], totals: list[Sample], scale: float, unit: str) -> str:
    each = ", ".join(f"{scale * sample.median:.3f}" for sample in _per_video(sizes, totals))
    return f"{each} {unit} per video"
