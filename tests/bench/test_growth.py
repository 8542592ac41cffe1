"""What the growth and memory rows make of the assemblies that fresh processes report."""

from importlib import import_module

import pytest

from bench.fresh_process import Probe
from bench.plan import QUICK
from bench.sample import Sample
from bench.workbench import Workbench

MB = 10**6

# `bench.rows` has the functions under these names.
growth, memory = (import_module(f"bench.rows.{name}") for name in ("growth", "memory"))


def probe(videos, peak=900 * MB, objects=5):
    return Probe(
        seconds=1.0,
        seconds_by_phase={"update": 0.002 * videos, "read": 0.001 * videos},
        peak_by_phase={"update": peak - 100 * MB, "read": peak},
        videos=videos,
        array_bytes=300 * MB,
        objects=objects,
        object_bytes=1_000 * videos,
        imported_bytes=200 * MB,
        peak_bytes=peak,
    )


@pytest.fixture
def bench():
    return Workbench(QUICK, buckets=None, folder=None, console=None)


def runs_of(**changes):
    """Seconds that grow faster than the videos: 1 ms each at 60, 2 ms at 240."""
    seconds = {60: (0.06, 0.054, 0.066), 120: (0.12,) * 3, 240: (0.48, 0.44, 0.5)}
    return lambda bench, videos: (Sample(seconds[videos]), [probe(videos, **changes)])


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(growth, "growth_runs", runs_of())
    monkeypatch.setattr(growth, "warm_runs", lambda bench, videos: (Sample((0.012,) * 3), [probe(videos, objects=0)]))


def test_growth_shows_the_spread_of_the_runs_and_where_the_time_went(bench, measured):
    time, size, _ = growth.growth(bench)
    assert (time.measured, *time.spread) == pytest.approx((100.0, 100 * (0.44 / 0.24 - 1), 100 * (0.5 / 0.216 - 1)))
    assert time.reached is False
    assert time.profile["phase update at 240 videos"] == pytest.approx(2.0)
    assert (time.profile_unit, size.measured, size.reached) == ("ms per video", 0.0, True)


def test_the_warm_row_is_a_fraction_of_cold_at_the_largest_size(bench, measured):
    warm = growth.growth(bench)[-1]
    assert warm.name == "warm, 240 videos"
    assert warm.measured == pytest.approx(100 * 0.012 / 0.48)
    assert warm.reached


def test_the_peak_that_misses_is_told_by_phase(bench, monkeypatch):
    monkeypatch.setattr(memory, "growth_runs", runs_of(peak=900 * MB))
    [row] = memory.memory(bench)
    assert row.reached is False
    assert row.profile == {"imports": 200, "phase update": 600, "phase read": 100}
    monkeypatch.setattr(memory, "growth_runs", runs_of(peak=749 * MB))
    [row] = memory.memory(bench)
    assert (row.reached, row.profile) == (True, {})
