"""Prediction intervals hold what they promise, and are narrower where the model errs less."""

import math

import numpy as np
import pytest

from clipfarm_tasks.evaluation.conformal import IntervalModel, calibration, coverage, fit_intervals


def rows(seed, n, spread=lambda predicted: np.full(len(predicted), 1.0)):
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(0, 12, n)
    return predicted + rng.normal(size=n) * spread(predicted), predicted


def spread_by_hand(rows_in_order):
    """Centres and spreads of (prediction, residual) pairs: bins of 30 rows or more, ten at most, of distinct means."""
    overall = np.mean([residual for _, residual in rows_in_order])
    bins = {}
    for part in np.array_split(np.arange(len(rows_in_order)), min(10, max(1, len(rows_in_order) // 30))):
        centre = np.mean([rows_in_order[row][0] for row in part])
        bins.setdefault(centre, []).extend(rows_in_order[row][1] for row in part)
    return sorted(bins), [(sum(bins[each]) + 20 * overall) / (len(bins[each]) + 20) for each in sorted(bins)]


def intervals_by_hand(target, predicted, level):
    """From the definition: residuals against spreads of the four other fifths, and a quantile of the ratios."""
    pairs = sorted(zip(predicted, np.abs(target - predicted), strict=True), key=lambda pair: pair[0])
    scores = []
    for row, (prediction, residual) in enumerate(pairs):
        centres, spreads = spread_by_hand([pair for other, pair in enumerate(pairs) if (other - row) % 5])
        scores.append(residual / np.interp(prediction, centres, spreads))
    centres, spreads = spread_by_hand(pairs)
    return IntervalModel(
        pytest.approx(centres),
        pytest.approx(spreads),
        pytest.approx(sorted(scores)[math.ceil((len(scores) + 1) * level) - 1]),
        level,
    )


@pytest.mark.parametrize("level", [0.5, 0.8])
@pytest.mark.parametrize("n", [6, 29, 137, 420])
def test_intervals_are_those_of_the_definition(n, level):
    for target, predicted in (rows(5, n), (rows(5, n)[0], np.round(rows(5, n)[1] / 6))):
        assert fit_intervals(target, predicted, level) == intervals_by_hand(target, predicted, level)


def test_both_ends_are_inside():
    model = IntervalModel((0.0,), (1.0,), multiple=2.0, level=0.8)
    found = coverage(np.array([3.0, 7.0, 7.5, 2.5]), np.full(4, 5.0), model)
    assert found == {"n": 4, "coverage": 0.5, "width_log": 4.0}


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_as_many_later_videos_end_inside_as_promised(level):
    found = [
        coverage(*rows(1000 + seed, 500), fit_intervals(*rows(seed, 200), level))["coverage"] for seed in range(100)
    ]
    assert np.mean(found) == pytest.approx(level, abs=0.012)


def test_intervals_are_narrower_where_the_model_errs_less():
    model = fit_intervals(*rows(1, 2000, lambda predicted: 0.2 + predicted / 6))
    low, high = model.bounds_log(np.array([1.0, 6.0, 11.0]))
    width = high - low
    assert width[0] < 0.6 * width[1] < 0.6 * width[2]
    target, predicted = rows(2, 4000, lambda predicted: 0.2 + predicted / 6)
    for part in (predicted < 3, (predicted > 3) & (predicted < 9), predicted > 9):
        assert coverage(target[part], predicted[part], model)["coverage"] == pytest.approx(0.8, abs=0.06)


def test_intervals_in_views_are_those_in_log_space():
    model = fit_intervals(*rows(1, 300))
    predicted = np.array([0.1, 5.0])
    low, high = model.bounds(predicted)
    low_log, high_log = model.bounds_log(predicted)
    assert low_log[0] < 0
    assert low.tolist() == pytest.approx([0.0, np.expm1(low_log[1])])
    assert high == pytest.approx(np.expm1(high_log))


def test_the_order_of_the_rows_means_nothing():
    target, predicted = rows(3, 137)
    order = np.random.default_rng(0).permutation(137)
    assert fit_intervals(target, predicted) == fit_intervals(target[order], predicted[order])


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5])
def test_too_few_rows_promise_nothing(n):
    model = fit_intervals(*rows(0, n))
    assert model.multiple == math.inf
    assert coverage(*rows(1, 5), model) == {"n": 5, "coverage": None, "width_log": None}
    low, high = model.bounds(np.array([4.0]))
    assert (low[0], high[0]) == (0.0, pytest.approx(np.expm1(30.0)))


def test_a_level_that_so_few_rows_cannot_promise_is_not_promised():
    assert fit_intervals(*rows(0, 18), 0.95).multiple == math.inf
    assert math.isfinite(fit_intervals(*rows(0, 19), 0.95).multiple)


def test_exact_predictions_have_an_interval_of_nearly_nothing():
    exact = np.arange(40.0)
    low, high = fit_intervals(exact, exact).bounds_log(exact)
    np.testing.assert_array_equal(high - low, 0.0)


def test_calibration_tells_means_by_tenth_of_the_predictions():
    target, predicted = rows(4, 1000)
    found = calibration(target + 1, predicted)
    assert [part["n"] for part in found] == [100] * 10
    assert [part["predicted_log"] for part in found] == sorted(part["predicted_log"] for part in found)
    assert all(part["target_log"] - part["predicted_log"] == pytest.approx(1, abs=0.35) for part in found)
    assert len(calibration(target[:3], predicted[:3])) == 3


def test_equal_predictions_are_not_ordered_by_their_labels():
    rng = np.random.default_rng(0)
    target = 8 + rng.normal(0, 2, 400)
    found = calibration(target, np.tile([7.0, 9.0], 200))
    in_order = np.concatenate([target[::2], target[1::2]]).reshape(10, 40)
    assert [part["target_log"] for part in found] == pytest.approx(in_order.mean(axis=1))
    two = np.repeat([7.0, 9.0], 200)
    model = fit_intervals(target, two)
    assert model.centres == (7.0, 9.0)
    assert model.spreads == pytest.approx([np.abs(target - two)[part].mean() for part in (two == 7, two == 9)], rel=0.1)
