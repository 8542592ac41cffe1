"""How much worse the future is than a run's own test part."""

import json

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import mean_squared_error, r2_score

from clipfarm_tasks.evaluation.bootstrap import resampled_metrics
from clipfarm_tasks.evaluation.temporal import JudgedPart, compared_with_future


def part(seed, noise, spread=2.0, rows=600, mean=8.0):
    rng = np.random.default_rng(seed)
    target = rng.normal(8, spread, rows)
    creators = np.array([f"creator{number % (rows // 2)}" for number in range(rows)], dtype=object)
    return JudgedPart(target, target + rng.normal(0, noise, rows), creators, mean)


def test_every_number_follows_from_the_predictions():
    own, future = part(1, 1.0), part(2, 1.5, mean=7.0)
    found = compared_with_future(own, future, seed=0)
    rmse = {}
    for name, rows in (("own_test", own), ("future_test", future)):
        target, predicted = rows.target_log, rows.predicted_log
        rmse[name] = mean_squared_error(target, predicted) ** 0.5
        naive = mean_squared_error(target, np.full(len(target), rows.train_mean)) ** 0.5
        expected = {
            "rmse_log": rmse[name],
            "r2_log": r2_score(target, predicted),
            "spearman": spearmanr(target, predicted).statistic,
            "skill": 1 - rmse[name] / naive,
        }
        for metric, value in expected.items():
            assert found[name][metric] == pytest.approx(value)
            low, high = found[name]["intervals"][metric]
            assert low < value < high
    assert found["optimism_percent"] == pytest.approx(100 * (rmse["future_test"] / rmse["own_test"] - 1))
    low, high = found["optimism_interval"]
    assert 0 < low < found["optimism_percent"] < high
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_optimism_is_that_of_draws_of_both_tests_apart():
    own, future = part(1, 0.5), part(2, 1.5)
    drawn = [
        resampled_metrics(each.target_log, {"model": each.predicted_log}, each.creators, seed)["model"]["rmse_log"]
        for each, seed in ((own, 8), (future, 7))
    ]
    assert not np.array_equal(*drawn)
    expected = np.quantile(100 * (drawn[1] / drawn[0] - 1), [0.025, 0.975])
    found = compared_with_future(own, future, seed=7)
    assert found["optimism_interval"] == pytest.approx(list(expected))
    assert found["future_test"]["intervals"]["rmse_log"] == pytest.approx(list(np.quantile(drawn[1], [0.025, 0.975])))


def test_two_tests_that_do_not_differ_leave_no_optimism_within_its_interval():
    low, high = compared_with_future(part(1, 1.0), part(2, 1.0), seed=0)["optimism_interval"]
    # Of 600 independent errors an RMSE has a relative standard error of 1 / sqrt(1200); the ratio sqrt(2) times that.
    assert low < 0 < high
    assert high - low == pytest.approx(100 * 2 * 1.96 * np.sqrt(2 / 1200), rel=0.2)


def test_labels_that_spread_more_are_optimism_and_no_loss_of_skill():
    """Everything twice as wide: the error to expect doubles, the model is as good as it was."""
    found = compared_with_future(part(1, 1.0), part(1, 2.0, spread=4.0), seed=0)
    assert found["optimism_percent"] == pytest.approx(100)
    assert found["future_test"]["skill"] == pytest.approx(found["own_test"]["skill"])


def test_few_creators_make_nothing_sure():
    found = compared_with_future(part(1, 1.0, rows=30), part(2, 1.0, rows=30), seed=0)
    assert found["optimism_interval"] is None
    assert found["future_test"]["intervals"]["rmse_log"] is None
    assert found["optimism_percent"] is not None


def test_a_model_that_was_never_wrong_has_no_optimism_to_tell():
    assert compared_with_future(part(1, 0.0), part(2, 1.0), seed=0)["optimism_percent"] is None


def test_labels_that_the_mean_tells_exactly_leave_no_skill_to_measure():
    own = part(1, 1.0)
    same = JudgedPart(np.full(600, 8.0), own.predicted_log, own.creators, 8.0)
    found = compared_with_future(same, own, seed=0)
    assert found["own_test"]["skill"] is None
    assert found["own_test"]["intervals"]["skill"] is None
    assert found["future_test"]["skill"] is not None
    assert json.loads(json.dumps(found, allow_nan=False)) == found
