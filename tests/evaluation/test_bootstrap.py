"""Intervals by the cluster bootstrap, against the plain way: repeat the rows of each draw and compute every metric."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control, norm, spearmanr

from clipfarm_tasks.evaluation import bootstrap
from clipfarm_tasks.evaluation.bootstrap import (
    Interval,
    difference,
    holm,
    interval,
    resampled_metrics,
    resampled_rmse,
    spearman,
)
from clipfarm_tasks.evaluation.metrics import regression_metrics

RNG = np.random.default_rng(3)
CREATORS = np.array([f"creator{number}" for number in RNG.integers(0, 35, 60)])
TRUTH = RNG.normal(8, 2, 60)
PREDICTED = {"good": TRUTH + RNG.normal(0, 0.5, 60), "tied": np.round(TRUTH), "bad": RNG.normal(8, 2, 60)}


@pytest.mark.parametrize("truth", [TRUTH, np.round(TRUTH)])
def test_every_metric_is_that_of_the_rows_that_were_drawn(truth, monkeypatch):
    monkeypatch.setattr(bootstrap, "_BLOCK", 60 * 7)  # several blocks, the last one smaller
    found = resampled_metrics(truth, PREDICTED, CREATORS, seed=5, resamples=40)
    names = np.unique(CREATORS)
    draws = np.concatenate([*bootstrap._draws(len(names), len(truth), 5, 40)])
    for draw, copies in enumerate(draws.astype(int)):
        assert copies.sum() == len(names)
        rows = np.repeat(np.arange(len(truth)), copies[np.searchsorted(names, CREATORS)])
        for model, predicted in PREDICTED.items():
            expected = regression_metrics(truth[rows], predicted[rows])
            expected["spearman"] = spearmanr(truth[rows], predicted[rows]).statistic
            actual = {metric: values[draw] for metric, values in found[model].items()}
            assert actual == pytest.approx(expected, rel=2e-5)


def test_rmse_within_slices_is_that_of_the_drawn_rows_inside(monkeypatch):
    monkeypatch.setattr(bootstrap, "_BLOCK", 60 * 7)
    error, names = PREDICTED["bad"] - TRUTH, np.unique(CREATORS)
    inside = np.stack([np.ones(60, bool), np.arange(60) % 3 > 0, np.isin(CREATORS, names[:19])], axis=1)
    found = resampled_rmse(error, CREATORS, inside, seed=5, resamples=40)
    draws = np.concatenate([*bootstrap._draws(len(names), 60, 5, 40)]).astype(int)
    for draw, copies in enumerate(draws):
        rows = np.repeat(np.arange(60), copies[np.searchsorted(names, CREATORS)])
        for position in (0, 1):
            expected = np.sqrt(np.mean(error[rows[inside[rows, position]]] ** 2))
            assert found[draw, position] == pytest.approx(expected)
    assert np.isnan(found[:, 2]).all()  # of 19 creators


def test_a_slice_of_twenty_creators_is_enough():
    inside = np.isin(CREATORS, np.unique(CREATORS)[:20])[:, None]
    assert np.isfinite(resampled_rmse(PREDICTED["bad"] - TRUTH, CREATORS, inside, seed=5, resamples=40)).all()


def test_every_creator_is_drawn_as_often_as_any_other():
    drawn = np.concatenate([*bootstrap._draws(30, 60, 5, 4_000)]).mean(axis=0)
    np.testing.assert_allclose(drawn, 1.0, atol=5 / np.sqrt(4_000))  # five standard errors of a mean of Poisson's 1


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 1e6), (1e-8, 0.0)])
def test_r2_and_spearman_do_not_depend_on_the_unit_of_the_labels(scale, shift):
    one, other = (
        resampled_metrics(truth, {"model": predicted}, CREATORS, seed=1, resamples=50)["model"]
        for truth, predicted in (
            (TRUTH, PREDICTED["good"]),
            (scale * TRUTH + shift, scale * PREDICTED["good"] + shift),
        )
    )
    for name in ("r2_log", "spearman"):
        np.testing.assert_allclose(other[name], one[name], rtol=1e-6)


def test_float32_predictions_lose_no_more_than_they_had_lost():
    single = {name: values.astype(np.float32) for name, values in PREDICTED.items()}
    double = {name: values.astype(np.float64) for name, values in single.items()}
    truth, inside = TRUTH.astype(np.float32), np.ones((60, 1), bool)
    found = [
        resampled_metrics(labels, predicted, CREATORS, seed=1, resamples=30)
        for labels, predicted in ((truth, single), (truth.astype(np.float64), double))
    ]
    for model, metrics in found[0].items():
        for name, values in metrics.items():
            np.testing.assert_array_equal(values, found[1][model][name])
    np.testing.assert_array_equal(
        resampled_rmse(1e-3 * single["bad"], CREATORS, inside, seed=1, resamples=30),
        resampled_rmse((1e-3 * single["bad"]).astype(np.float64), CREATORS, inside, seed=1, resamples=30),
    )


def test_the_order_of_rows_makes_no_difference():
    order = RNG.permutation(60)
    one = resampled_metrics(TRUTH, PREDICTED, CREATORS, seed=1, resamples=50)
    other = resampled_metrics(
        TRUTH[order], {name: values[order] for name, values in PREDICTED.items()}, CREATORS[order], 1, 50
    )
    for model, metrics in one.items():
        for name, values in metrics.items():
            np.testing.assert_allclose(values, other[model][name], rtol=1e-5)


def test_an_interval_covers_the_truth_as_often_as_it_says():
    covered = 0
    for repeat in range(200):
        rng = np.random.default_rng(repeat)
        creator = np.repeat(np.arange(60), 3)
        truth = rng.normal(8, 2, 180)
        error = np.repeat(rng.normal(0, 1, 60), 3)  # a creator's videos all miss by the same
        samples = resampled_metrics(truth, {"model": truth + error}, creator, repeat, 400)["model"]["mae_log"]
        within = interval(samples)
        covered += within.low <= np.sqrt(2 / np.pi) <= within.high
    assert 0.88 <= covered / 200 <= 0.99


def test_differences_are_paired_and_have_a_sign():
    samples = resampled_metrics(TRUTH, PREDICTED, CREATORS, seed=2)
    better = difference(samples["good"]["rmse_log"], samples["bad"]["rmse_log"])
    assert better.interval.high < 0
    assert better.p == pytest.approx(2 / 2001)
    # A constant shift of both makes no difference to what is paired, while each alone is unsure.
    same = difference(samples["good"]["rmse_log"], samples["good"]["rmse_log"])
    assert (same.interval, same.p) == (Interval(0.0, 0.0), 1.0)


def test_a_difference_has_the_level_that_was_asked_for():
    samples = np.random.default_rng(0).normal(size=20_000)
    within = difference(samples, np.zeros_like(samples), level=0.5).interval
    assert within == pytest.approx((norm.ppf(0.25), norm.ppf(0.75)), abs=0.03)


def test_the_p_value_of_a_normal_difference_is_the_usual_one():
    samples = np.random.default_rng(0).normal(1.5, 1.0, 200_000)
    assert difference(samples, np.zeros_like(samples)).p == pytest.approx(2 * norm.cdf(-1.5), rel=0.03)


def test_holm_is_that_of_the_literature():
    # The example of Holm's procedure with four hypotheses: 0.005, 0.01, 0.03 and 0.04.
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({}) == {}
    assert holm({"one": 0.7, "two": 0.9}) == {"one": 1.0, "two": 1.0}
    step_up = false_discovery_control([0.01, 0.04, 0.03, 0.005])  # never stricter than Holm's
    assert all(found[name] >= value for name, value in zip("abcd", step_up, strict=True))


def test_what_a_draw_leaves_undefined_is_not_counted():
    assert interval(np.array([np.nan, 1.0, 2.0, 3.0])) == Interval(pytest.approx(1.05), pytest.approx(2.95))
    assert interval(np.array([np.nan, np.nan, 2.0, 3.0])) is None
    assert difference(np.full(4, np.nan), np.ones(4)) is None
    constant = resampled_metrics(np.full(20, 2.5), {"model": np.arange(20.0)}, range(20), 0, 20)["model"]
    assert np.isnan(constant["r2_log"]).all()
    assert np.isnan(constant["spearman"]).all()
    assert np.isfinite(constant["rmse_log"]).all()


def test_with_few_creators_nothing_is_sure():
    few = resampled_metrics(TRUTH, PREDICTED, np.arange(60) % 19, 0, 20)
    assert all(interval(samples) is None for metrics in few.values() for samples in metrics.values())
    assert interval(resampled_metrics(TRUTH, PREDICTED, np.arange(60) % 20, 0, 20)["good"]["rmse_log"]) is not None


@pytest.mark.parametrize("predicted", [TRUTH, np.round(TRUTH), -TRUTH, RNG.normal(size=60)])
def test_spearman_is_that_of_scipy(predicted):
    assert spearman(np.round(TRUTH, 1), predicted) == pytest.approx(spearmanr(np.round(TRUTH, 1), predicted).statistic)


def test_spearman_of_two_rows_is_their_order():
    assert spearman([1.0, 2.0], [3.0, 5.0]) == pytest.approx(1.0)
    assert spearman([1.0, 2.0], [5.0, 3.0]) == pytest.approx(-1.0)


def test_spearman_without_any_order_is_undefined():
    assert np.isnan(spearman(TRUTH, np.zeros(60)))
    assert np.isnan(spearman([], []))
