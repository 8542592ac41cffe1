"""The streamed fit against scikit-learn's RidgeCV, which holds all rows at once."""

import numpy as np
import pytest
from scipy.linalg import hadamard
from sklearn.linear_model import RidgeCV

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.models.streamed_ridge import StreamedRidge

ALPHAS = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]


def plain(rng, n):
    return rng.normal(size=(n, 12))


def collinear(rng, n):
    features = rng.normal(size=(n, 6))
    return np.hstack([features, features @ rng.normal(size=(6, 4)), features[:, :1]])


def constant(rng, n):
    return np.hstack([rng.normal(size=(n, 5)), np.full((n, 2), 7.3), np.zeros((n, 1))])


def far_from_zero(rng, n):
    return rng.normal(size=(n, 8)) + 1e5


def of_all_scales(rng, n):
    return rng.normal(size=(n, 10)) * np.logspace(-3, 3, 10)


def one_hot(rng, n):
    return np.hstack([np.eye(9)[rng.integers(0, 9, n)], rng.normal(size=(n, 2))])


def streamed(features, target, size):
    def blocks():
        return (features[start : start + size] for start in range(0, len(features), size))

    return StreamedRidge(blocks, target).fit(ALPHAS)


def data(shape, n, noise, seed=0):
    rng = np.random.default_rng(seed)
    features = shape(rng, n)
    spread = (features - features.mean(axis=0)).std() or 1.0
    return features, 9.0 + features[:, :3].sum(axis=1) / spread + noise * rng.normal(size=n)


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
@pytest.mark.parametrize(("n", "noise"), [(13, 0.5), (60, 0.1), (300, 1.0)])
@pytest.mark.parametrize("shape", [plain, collinear, constant, far_from_zero, of_all_scales, one_hot])
def test_is_what_ridgecv_fits(shape, n, noise, size):
    features, target = data(shape, n, noise)
    model = streamed(features, target, size)
    expected = RidgeCV(alphas=ALPHAS).fit(features, target)
    assert (model.alpha_, list(model.alphas)) == (expected.alpha_, list(expected.alphas))
    np.testing.assert_allclose(model.best_score_, expected.best_score_, rtol=1e-6)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6, atol=1e-6 * np.abs(expected.coef_).max())
    np.testing.assert_allclose(model.predict(features), expected.predict(features), rtol=1e-6)
    assert model.n_features_in_ == expected.n_features_in_


def test_the_intercept_is_that_of_ridgecv():
    features, target = data(plain, 60, 0.1)
    expected = RidgeCV(alphas=ALPHAS).fit(features, target)
    assert streamed(features, target, 7).intercept_ == pytest.approx(expected.intercept_, rel=1e-6)


def test_the_score_is_the_error_of_fits_that_each_miss_one_row():
    features, target = data(plain, 40, 1.0)
    model = streamed(features, target, 9)
    errors = []
    for row in range(40):
        x, y = np.delete(features, row, axis=0), np.delete(target, row)
        centred = x - x.mean(axis=0)
        gram = centred.T @ centred + model.alpha_ * np.eye(x.shape[1])
        weights = np.linalg.solve(gram, centred.T @ (y - y.mean()))
        errors.append(target[row] - y.mean() - (features[row] - x.mean(axis=0)) @ weights)
    assert model.best_score_ == pytest.approx(-np.mean(np.square(errors)), rel=1e-9)


def test_squares_are_those_of_the_centred_features():
    features, target = data(far_from_zero, 60, 0.5)
    squares = StreamedRidge(lambda: np.array_split(features, 7), target).squares
    assert squares == pytest.approx(np.square(features - features.mean(axis=0)).sum(), rel=1e-6)


def test_a_single_product_that_overflows_is_told():
    with np.errstate(all="ignore"), pytest.raises(DataError, match="expected finite products of features, got"):
        StreamedRidge(lambda: [1e200 * np.arange(9.0)[:, None]], np.arange(9.0))


def test_rows_of_leverage_1_are_no_division_by_zero():
    design = hadamard(8).astype(np.float64)  # orthogonal: eight coefficients, intercept included, for eight rows
    target = np.arange(8.0) ** 2
    penalties = [1e-20, 1e-19]  # of no effect
    model = StreamedRidge(lambda: [design[:, 1:]], target).fit(penalties)
    assert np.isfinite(model.best_score_)
    np.testing.assert_allclose([model.intercept_, *model.coef_], design.T @ target / 8, atol=1e-12)


@pytest.mark.parametrize(
    ("features_times", "target_times", "what"), [(1e200, 1, "products of features"), (1, 1e160, "leave-one-out errors")]
)
def test_numbers_that_overflow_are_one_sentence(features_times, target_times, what):
    features, target = data(plain, 60, 0.5)
    with (
        np.errstate(all="ignore"),
        pytest.raises(DataError, match=f"expected finite {what}, got -?(nan|inf), in ridge"),
    ):
        streamed(features * features_times, target * target_times, 7)
