"""Repeated measurements and what is said about them: median, spread, ratios, growth."""

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LONG_S = 60.0


@dataclass(frozen=True)
class Sample:
    """Values of one measurement, repeated."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Their median."""
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest and the largest."""
        return min(self.values), max(self.values)

    @property
    def runs(self) -> int:
        """How many there are."""
        return len(self.values)

    def per(self, units: float) -> "Sample":
        """The values divided by ``units``."""
        return Sample(tuple(value / units for value in self.values))


def repeated(run: Callable[[], float], repeats: int, prepare: Callable[[], object] = lambda: None) -> Sample:
    """Measure ``repeats`` times, or only once where that takes a minute.

    Args:
        run: does it once; returns its seconds, however much it spends on other things.
        repeats: runs wanted.
        prepare: called before each run, not measured.
    """
    values: list[float] = []
    while len(values) < repeats and (not values or values[0] < LONG_S):
        prepare()
        values.append(run())
    return Sample(tuple(values))


@dataclass(frozen=True)
class Ratio:
    """One sample over another.

    Attributes:
        value: ratio of the medians.
        spread: smallest and largest ratio that two of the runs give.
        runs: runs of the side that was run less often.
    """

    value: float
    spread: tuple[float, float]
    runs: int


def ratio(over: Sample, under: Sample) -> Ratio:
    """``over`` as a multiple of ``under``."""
    (low, high), (least, most) = over.spread, under.spread
    return Ratio(over.median / under.median, (low / most, high / least), min(over.runs, under.runs))


@dataclass(frozen=True)
class Line:
    """``y = intercept + slope * x`` by least squares."""

    intercept: float
    slope: float


def fitted_line(x: Sequence[float], y: Sequence[float]) -> Line:
    """The line through at least two points."""
    slope, intercept = np.polyfit(np.asarray(x, np.float64), np.asarray(y, np.float64), 1)
    return Line(float(intercept), float(slope))


@dataclass(frozen=True)
class Unevenness:
    """How much the largest of several figures is above the smallest, as a fraction of it: 0 when all are equal.

    Attributes:
        value: of the medians.
        spread: the least and the most that any figures within the samples' spreads give.
    """

    value: float
    spread: tuple[float, float]


def unevenness(samples: Sequence[Sample]) -> Unevenness:
    """Of at least two samples."""
    medians = [sample.median for sample in samples]
    least = max(sample.spread[0] for sample in samples) / min(sample.spread[1] for sample in samples)
    most = max(over.spread[1] / under.spread[0] for over, under in itertools.permutations(samples, 2))
    return Unevenness(max(medians) / min(medians) - 1.0, (max(least, 1.0) - 1.0, most - 1.0))
