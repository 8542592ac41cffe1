"""The grid of ridge, against leave-one-out errors by the normal equations."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score

from clipfarm_tasks.models.ridge import RECIPE
from clipfarm_tasks.models.ridge_grid import fit_ridge


def data(n, width, noise):
    rng = np.random.default_rng([n, width])
    features = rng.normal(size=(n, width))
    return features, features[:, 0] + noise * rng.normal(size=n)


def fit(features, target, recipe):
    def blocks(size):
        return (features[start : start + size] for start in range(0, len(features), size))

    return fit_ridge(blocks, features.shape[1], target, recipe)


def leave_one_out(features, target, alpha):
    """Mean squared error of N fits that each miss one row, by the normal equations; the intercept is not penalised."""
    errors = []
    for row in range(len(target)):
        rest = np.arange(len(target)) != row
        x, y = features[rest], target[rest]
        centred = x - x.mean(axis=0)
        weights = np.linalg.solve(centred.T @ centred + alpha * np.eye(x.shape[1]), centred.T @ (y - y.mean()))
        errors.append(target[row] - y.mean() - (features[row] - x.mean(axis=0)) @ weights)
    return np.mean(np.square(errors))


@pytest.mark.parametrize(("n", "width"), [(40, 5), (25, 60)])
def test_alpha_has_the_smallest_leave_one_out_error_of_the_grid(n, width):
    features, target = data(n, width, noise=1.0)
    model = fit(features, target, RECIPE)
    errors = {float(alpha): leave_one_out(features, target, alpha) for alpha in model.alphas}
    # Below rounding, penalties are all alike.
    assert errors[model.alpha_] == pytest.approx(min(errors.values()), rel=1e-6)
    assert max(errors.values()) > 1.01 * min(errors.values())


def test_the_grid_stays_when_the_best_alpha_is_inside():
    model = fit(*data(200, 5, noise=0.5), RECIPE)
    np.testing.assert_array_equal(model.alphas, RECIPE.alphas)
    assert model.alpha_ < 100


@pytest.mark.parametrize("width", [5, 400])
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_features_of_any_unit_are_learnt_from_alike(width, scale):
    features, target = data(300, width, noise=0.1)
    model = fit(scale * features[:200], target[:200], RECIPE)
    assert r2_score(target[200:], model.predict(scale * features[200:])) == pytest.approx(
        r2_score(target[200:], fit(features[:200], target[:200], RECIPE).predict(features[200:])), abs=0.02
    )


@pytest.mark.parametrize("n", [60, 30])
def test_the_grid_goes_on_upward_where_its_best_is_its_largest(n):
    features, target = data(n, 40, noise=20.0)
    model = fit(features, target, replace(RECIPE, alphas=(0.1, 0.3)))
    largest = 100.0 * np.square(features - features.mean(axis=0)).sum()
    np.testing.assert_allclose(np.divide(model.alphas[2:], model.alphas[1:-1]), 3.0)
    assert largest / 3 < max(model.alphas) <= largest
    assert min(model.alphas) == 0.1
    assert model.alpha_ > 0.3
    assert leave_one_out(features, target, model.alpha_) < leave_one_out(features, target, 0.3)


@pytest.mark.parametrize("n", [60, 30])
def test_the_grid_goes_on_downward_where_its_best_is_its_smallest(n):
    features, target = data(n, 40, noise=0.01)
    target = target + features @ np.arange(40.0)
    model = fit(features, target, replace(RECIPE, alphas=(1e3, 3e3)))
    smallest = 1e-10 * np.square(features - features.mean(axis=0)).sum()
    np.testing.assert_allclose(np.divide(model.alphas[1:-1], model.alphas[:-2]), 3.0)
    assert smallest <= min(model.alphas) < 3 * smallest
    assert max(model.alphas) == 3e3
    assert model.alpha_ < 1e3
    assert leave_one_out(features, target, model.alpha_) < leave_one_out(features, target, 1e3)


@pytest.mark.parametrize("n", [60, 30])
def test_how_far_the_grid_goes_does_not_depend_on_where_features_are(n):
    features, target = data(n, 40, noise=20.0)
    shorter = replace(RECIPE, alphas=(0.1, 0.3))
    moved = fit(features + 10.0 * np.arange(40), target, shorter)
    np.testing.assert_array_equal(moved.alphas, fit(features, target, shorter).alphas)


@pytest.mark.parametrize("n", [60, 30])
def test_the_continued_grid_is_fitted_as_ridgecv_fits_it(n):
    features, target = data(n, 40, noise=20.0)
    model = fit(features, target, replace(RECIPE, alphas=(0.1, 0.3)))
    expected = RidgeCV(alphas=model.alphas).fit(features, target)
    assert model.alpha_ == expected.alpha_
    np.testing.assert_allclose(model.predict(features), expected.predict(features), rtol=1e-6)


def test_a_single_penalty_goes_on_both_ways():
    alphas = fit(*data(60, 5, noise=0.5), replace(RECIPE, alphas=(1.0,))).alphas
    assert min(alphas) < 1.0 < max(alphas)


@pytest.mark.parametrize("n", [60, 4])
def test_the_grid_of_features_that_say_nothing_ends(n):
    model = fit(np.full((n, 5), 7.0), np.random.default_rng(n).normal(size=n), RECIPE)
    np.testing.assert_array_equal(model.alphas, RECIPE.alphas)
    np.testing.assert_allclose(model.coef_, 0.0, atol=1e-9)
