"""Peak memory of one cold assembly in a fresh process against the bytes of the arrays it returns."""

from bench.fresh_process import Probe
from bench.result import Row
from bench.rows.growth_runs import growth_runs
from bench.workbench import Workbench

FACTOR = 1.5
BESIDE = 300e6


def memory(bench: Workbench) -> list[Row]:
    """One row, at the largest size of the growth row; what counts is the highest peak of its runs."""
    videos = bench.plan.growth_videos[-1]
    sample, probes = growth_runs(bench, videos)
    arrays = probes[0].array_bytes
    limit = FACTOR * arrays + BESIDE
    peaks = [probe.peak_bytes for probe in probes]
    highest = max(probes, key=lambda probe: probe.peak_bytes)
    return [
        Row(
            name="peak memory",
            what=f"peak memory (VmHWM) of a process that assembles {videos:,} videos, {bench.plan.width} wide",
            against=f"the arrays it returns, {arrays / 1e6:,.0f} MB",
            target=f"≤ {FACTOR:g} x + {BESIDE / 1e6:g} MB: {limit / 1e6:,.0f} MB",
            measured=max(peaks) / 1e6,
            unit="MB",
            spread=(min(peaks) / 1e6, max(peaks) / 1e6),
            runs=sample.runs,
            reached=max(peaks) <= limit,
            note=f"the highest of the runs, {max(peaks) / arrays:.2f} x the arrays; "
            f"{probes[0].imported_bytes / 1e6:,.0f} MB before the assembly",
            profile=_rises(highest) if max(peaks) > limit else {},
            profile_unit="MB",
            values={"arrays_mb": arrays / 1e6, "limit_mb": limit / 1e6},
        )
    ]


def _rises(probe: Probe) -> dict[str, float]:
    """MB by which each phase raised the peak; they add up to it."""
    rises, before = {"imports": probe.imported_bytes / 1e6}, probe.imported_bytes
    for phase, peak in probe.peak_by_phase.items():
        rises[f"phase {phase}"] = (peak - before) / 1e6
        before = peak
    return rises
