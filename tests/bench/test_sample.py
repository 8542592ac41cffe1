import numpy as np
import pytest

from bench.sample import Sample, Unevenness, fitted_line, ratio, repeated, unevenness


def test_a_sample_tells_median_spread_and_runs():
    sample = Sample((3.0, 1.0, 2.0, 10.0))
    assert (sample.median, sample.spread, sample.runs) == (2.5, (1.0, 10.0), 4)
    assert sample.per(2).values == (1.5, 0.5, 1.0, 5.0)


def test_short_runs_are_repeated_and_each_is_prepared():
    done = []
    sample = repeated(lambda: done.append("run") or 1.0 * len(done), 3, prepare=lambda: done.append("prepare"))
    assert done == ["prepare", "run"] * 3
    assert sample.values == (2.0, 4.0, 6.0)


def test_a_run_of_a_minute_is_made_once():
    assert repeated(lambda: 60.0, 3).runs == 1
    assert repeated(lambda: 59.9, 3).runs == 3


def test_a_ratio_spans_what_any_two_runs_could_give():
    found = ratio(Sample((10.0, 20.0, 12.0)), Sample((2.0, 4.0)))
    assert found.value == pytest.approx(12 / 3)
    assert found.spread == (10 / 4, 20 / 2)
    assert found.runs == 2


def test_the_line_is_that_of_the_normal_equations():
    x, y = [2000.0, 10_000.0, 50_000.0], [1.9, 8.0, 44.0]
    design = np.stack([np.ones(3), x], axis=1)
    intercept, slope = np.linalg.lstsq(design, np.array(y), rcond=None)[0]
    line = fitted_line(x, y)
    assert (line.intercept, line.slope) == (pytest.approx(intercept), pytest.approx(slope))


def test_unevenness_is_a_fraction_of_the_smallest_median():
    assert unevenness([Sample((2.0,)), Sample((2.0,))]) == Unevenness(0.0, (0.0, 0.0))
    found = unevenness([Sample((1.2,)), Sample((1.0,)), Sample((1.1,))])
    assert (found.value, *found.spread) == pytest.approx((0.2, 0.2, 0.2))


def test_unevenness_spans_what_the_runs_could_give():
    apart = unevenness([Sample((1.0, 1.1, 1.2)), Sample((2.0, 2.2, 2.6))])
    assert (apart.value, *apart.spread) == pytest.approx((2.2 / 1.1 - 1, 2.0 / 1.2 - 1, 2.6 / 1.0 - 1))
    overlapping = unevenness([Sample((1.0, 1.1, 1.5)), Sample((1.2, 1.4, 1.6))])
    assert (overlapping.spread[0], overlapping.spread[1]) == pytest.approx((0.0, 1.6 / 1.0 - 1))
