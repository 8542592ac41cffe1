import numpy as np
import pytest

from clipfarm_tasks.families import RidgePreset
from clipfarm_tasks.models.ridge import RECIPE, fit_ridge

RNG = np.random.default_rng(0)


def data(n, width, noise):
    features = RNG.normal(size=(n, width))
    return features, features[:, 0] + noise * RNG.normal(size=n)


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
    assert model.alpha_ == min(errors, key=errors.get)


def test_the_grid_stays_when_the_best_alpha_is_inside():
    model = fit(*data(200, 5, noise=0.5), RECIPE)
    np.testing.assert_array_equal(model.alphas, RECIPE.alphas)
    assert model.alpha_ < 100


def test_the_grid_grows_by_its_step_when_the_best_alpha_is_at_its_edge():
    features, target = data(60, 40, noise=20.0)
    recipe = RidgePreset(alphas=(0.1, 0.3), alpha_step=3.0, max_alpha=1e6)
    model = fit(features, target, recipe)
    np.testing.assert_allclose(np.divide(model.alphas[2:], model.alphas[1:-1]), 3.0)
    assert model.alpha_ > 0.3
    assert 1e6 / 3 < max(model.alphas) <= 1e6
    assert leave_one_out(features, target, model.alpha_) < leave_one_out(features, target, 0.3)


def test_the_grid_ends_at_max_alpha_when_nothing_is_learnable():
    features = RNG.normal(size=(30, 20))
    model = fit(features, np.tile([1.0, -1.0], 15), RidgePreset((0.1,), 3.0, 5.0))
    assert max(model.alphas) == pytest.approx(2.7)
    assert model.alpha_ <= 5.0
