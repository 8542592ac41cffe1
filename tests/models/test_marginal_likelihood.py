"""The scales of an additive kernel: their likelihood, its gradient, and that they are found again."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.spatial.distance import pdist, squareform
from scipy.stats import multivariate_normal
from sklearn.gaussian_process.kernels import RBF

from clipfarm_tasks.models.marginal_likelihood import KernelScales, NegativeLogPosterior, choose_scales


def rows(n, seed=0):
    """(N, 3) of the first block, two others of four and two columns, and a target (N,)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)), [rng.normal(size=(n, 4)), rng.normal(size=(n, 2))], rng.normal(5, 3, n)


def covariance(scales, own, shared):
    """By scikit-learn's kernels, without the noise."""
    blocks = [(own, scales.own_lengths), *zip(shared, scales.shared_lengths, strict=True)]
    parts = [RBF(length)(block) if block.shape[1] else 1.0 for block, length in blocks]
    return sum(amplitude * part for amplitude, part in zip(scales.amplitudes, parts, strict=True))


def test_the_likelihood_is_that_of_a_normal_distribution():
    own, shared, target = rows(40)
    loss = NegativeLogPosterior(own, shared, target)
    scales = loss.scales(loss.start)
    expected = multivariate_normal(cov=covariance(scales, own, shared) + scales.noise * np.eye(40)).logpdf(
        (target - target.mean()) / target.std()
    )
    # At the start the prior costs nothing.
    assert loss(loss.start)[0] == pytest.approx(-expected - 20 * np.log(2 * np.pi), rel=1e-4)


def test_the_prior_is_a_normal_one_about_the_start():
    own, shared, target = rows(30)
    loss = NegativeLogPosterior(own, shared, target)
    away = np.random.default_rng(1).normal(size=len(loss.start))
    scales = loss.scales(loss.start + away)
    likelihood = multivariate_normal(cov=covariance(scales, own, shared) + scales.noise * np.eye(30)).logpdf(
        (target - target.mean()) / target.std()
    )
    prior = loss(loss.start + away)[0] + likelihood + 15 * np.log(2 * np.pi)
    assert prior == pytest.approx(np.square(away / 3).sum() / 2, abs=1e-3)


@pytest.mark.parametrize("without", [None, "numerics", "another block"])
def test_the_gradient_is_that_of_finite_differences(without):
    own, shared, target = rows(25)
    if without == "numerics":
        own = own[:, :0]
    if without == "another block":
        shared[1] = shared[1][:, :0]
    loss = NegativeLogPosterior(own, shared, target)
    assert len(loss.start) == 3 + own.shape[1] + 2 + 1
    for seed in range(3):
        logs = loss.start + np.random.default_rng(seed).normal(size=len(loss.start))
        expected = approx_fprime(logs, lambda each: loss(each)[0], 1e-6)
        np.testing.assert_allclose(loss(logs)[1], expected, rtol=1e-3, atol=1e-4)


def test_scales_of_a_process_are_found_again():
    own, shared, _ = rows(500)
    true = KernelScales(np.array([1.0, 1.0, 0.0]), np.array([1.0, 1e3, 1e3]), np.array([2.0, 1.0]), noise=0.1)
    process = covariance(true, own, shared) + true.noise * np.eye(500)
    target = 100 + 7 * np.linalg.cholesky(process) @ np.random.default_rng(1).normal(size=500)
    found = choose_scales(own, shared, target, iterations=60)
    variance = np.var(target) / 49
    assert found.noise * variance == pytest.approx(0.1, rel=0.3)
    assert found.own_lengths[0] == pytest.approx(1.0, rel=0.3)
    assert found.own_lengths[1:].min() > 5
    assert found.shared_lengths[0] == pytest.approx(2.0, rel=0.3)
    assert found.amplitudes[2] < 0.05 * found.amplitudes[:2].min()


def test_more_iterations_make_the_target_no_less_likely():
    own, shared, target = rows(60)
    target = target + 5 * own[:, 0]
    loss = NegativeLogPosterior(own, shared, target)
    values = []
    for iterations in (1, 5, 20):
        scales = choose_scales(own, shared, target, iterations)
        squares = np.r_[scales.amplitudes, scales.own_lengths**2, scales.shared_lengths**2, scales.noise]
        values.append(loss(np.log(squares))[0])
    assert values == sorted(values, reverse=True)


def test_the_lengths_start_at_the_typical_distance_of_rows():
    own, shared, target = rows(50)
    loss = NegativeLogPosterior(own, shared, target)
    medians = [np.sqrt(np.median(squareform(pdist(block)) ** 2)) for block in shared]
    np.testing.assert_allclose(loss.scales(loss.start).shared_lengths, medians)


@pytest.mark.parametrize("constant", ["rows", "target", "twins"])
def test_scales_of_what_tells_nothing_are_finite(constant):
    own, shared, target = rows(30)
    if constant == "rows":
        own, shared = np.zeros_like(own), [np.zeros_like(block) for block in shared]
    if constant == "target":
        target = np.full_like(target, 3.0)
    if constant == "twins":  # the kernel of equal rows has no inverse without noise
        own, shared, target = (
            np.repeat(own[:3], 10, axis=0), [np.repeat(block[:3], 10, axis=0) for block in shared],
            np.repeat(target[:3], 10),
        )  # fmt: skip
    found = choose_scales(own, shared, target, iterations=200)
    for values in (found.amplitudes, found.own_lengths, found.shared_lengths, np.array(found.noise)):
        assert np.isfinite(values).all()
        assert (values > 0).all()
