import math

import numpy as np
import pytest
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.metrics import raw_from_log, regression_metrics

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_five_are_those_of_scikit_learn(dtype):
    target = RNG.uniform(0, 14, 500).astype(dtype)
    predicted = (target + RNG.normal(0, 2, 500)).astype(dtype)
    views = np.expm1(target.astype(np.float64))
    predicted_views = np.maximum(np.expm1(predicted.astype(np.float64)), 0)
    expected = {
        "rmse_log": root_mean_squared_error(target.astype(np.float64), predicted.astype(np.float64)),
        "mae_log": mean_absolute_error(target.astype(np.float64), predicted.astype(np.float64)),
        "r2_log": r2_score(target.astype(np.float64), predicted.astype(np.float64)),
        "rmse_raw": root_mean_squared_error(views, predicted_views),
        "mae_raw": mean_absolute_error(views, predicted_views),
    }
    metrics = regression_metrics(target, predicted)
    assert list(metrics) == list(expected)
    assert metrics == pytest.approx(expected, rel=1e-9)
    assert all(type(value) is float for value in metrics.values())


def test_by_hand():
    # Views 1, 3 and 7 predicted as 3, 3 and 0: errors of 1, 0 and -3 doublings, and of 2, 0 and -7 views.
    metrics = regression_metrics(np.log([2.0, 4.0, 8.0]), np.log([4.0, 4.0, 1.0]))
    ln2 = math.log(2)
    assert metrics == pytest.approx(
        {
            "rmse_log": ln2 * math.sqrt(10 / 3),
            "mae_log": ln2 * 4 / 3,
            "r2_log": 1 - 10 / 2,
            "rmse_raw": math.sqrt((4 + 49) / 3),
            "mae_raw": 3.0,
        }
    )


def test_views_are_clipped_and_never_negative():
    np.testing.assert_allclose(
        raw_from_log([-50, -20, -0.5, 0, 1, 30, 32, 1000]),
        [0, 0, 0, 0, math.e - 1, math.expm1(30), math.expm1(30), math.expm1(30)],
    )


def test_views_are_computed_in_float64():
    views = raw_from_log(np.array([13.3], np.float32))
    assert views[0] == np.expm1(np.float64(np.float32(13.3)))


def test_a_wild_prediction_is_clipped_in_views_but_not_in_log_space():
    metrics = regression_metrics([0.0, 0.0], [1000.0, 0.0])
    assert metrics["mae_log"] == 500
    assert metrics["mae_raw"] == pytest.approx(math.expm1(30) / 2)


def test_exact_predictions_are_exact():
    target = RNG.uniform(0, 14, 50)
    assert regression_metrics(target, target) == {"rmse_log": 0, "mae_log": 0, "r2_log": 1, "rmse_raw": 0, "mae_raw": 0}


@pytest.mark.parametrize("predicted", [[3.5, 3.5, 3.5], [3.5, 3.5, 4.0], [9.0, 9.0, 9.0]])
def test_r2_of_a_constant_target_is_that_of_scikit_learn(predicted):
    assert regression_metrics([3.5] * 3, predicted)["r2_log"] == r2_score([3.5] * 3, predicted)


def test_r2_of_a_constant_target_whose_mean_is_rounded_is_zero_and_not_astronomical():
    assert np.mean([3.3] * 3) != 3.3
    assert regression_metrics([3.3] * 3, [3.3, 3.3, 4.0])["r2_log"] == 0.0


@pytest.mark.parametrize("predicted", [[2.0], [2.5]])
def test_r2_of_a_single_row_is_undefined_as_in_scikit_learn(predicted):
    metrics = regression_metrics([2.0], predicted)
    with pytest.warns(UndefinedMetricWarning):
        assert math.isnan(r2_score([2.0], predicted))
    assert math.isnan(metrics["r2_log"])
    assert metrics["mae_log"] == predicted[0] - 2.0


def test_the_order_of_the_rows_does_not_matter():
    target, predicted = RNG.uniform(0, 14, (2, 100))
    order = RNG.permutation(100)
    assert regression_metrics(target[order], predicted[order]) == pytest.approx(regression_metrics(target, predicted))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_and_named(value):
    with pytest.raises(DataError, match="expected finite values, got 1 of 2 that are not, in predicted_log"):
        regression_metrics([1.0, 2.0], [1.0, value])
    with pytest.raises(DataError, match="got 1 of 2 that are not, in target_log"):
        regression_metrics([1.0, value], [1.0, 2.0])


@pytest.mark.parametrize(("target", "predicted"), [([1.0, 2.0], [1.0]), ([], []), ([[1.0]], [[1.0]]), ([1.0], [[1.0]])])
def test_other_shapes_are_refused(target, predicted):
    with pytest.raises(DataError, match=r"one shape \(N,\) with N >= 1, got "):
        regression_metrics(target, predicted)
