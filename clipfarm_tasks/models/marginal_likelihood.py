"""Scales of an additive kernel, chosen by the marginal likelihood of a Gaussian process (type II maximum likelihood).

Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, section 5.4.1; additive kernels: Duvenaud,
Nickisch and Rasmussen, "Additive Gaussian Processes", NIPS 2011.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from clipfarm_tasks.models.inputs import F64

_PRIOR_STD = 3.0  # of the logarithm of a scale about its start: what the rows say nothing about stays near it
_JITTER = 1e-6
_START = {"amplitude": 0.2, "noise": 0.5}  # in variances of the target


@dataclass(frozen=True)
class KernelScales:
    """An additive kernel: the sum over B blocks of amplitude times exp(-|x - y|**2 / 2), x and y in length scales.

    Attributes:
        amplitudes: (B,) in variances of the target.
        own_lengths: (F,) length scale of each column of the first block, in its unit.
        shared_lengths: (B - 1,) the length scale of all columns of each other block.
        noise: variance that no block explains, in variances of the target.
    """

    amplitudes: F64
    own_lengths: F64
    shared_lengths: F64
    noise: float


def choose_scales(own_lengths: F64, shared_lengths: Sequence[F64], target: F64, iterations: int) -> KernelScales:
    """The scales that make the target of N rows most likely, by L-BFGS on the exact gradient: N**3 each iteration.

    Args:
        own_lengths: (N, F) float64, standardised: the first block, in which each column has a length scale of its own
            (automatic relevance determination).
        shared_lengths: blocks (N, D) float64, in each of which all columns share one length scale.
        target: (N,) float64.
        iterations: most steps of the optimiser.
    """
    n, own = own_lengths.shape
    blocks = 1 + len(shared_lengths)
    centred = target - target.mean()
    y = centred / (centred.std() or 1.0)
    distances = [_squared_distances(block) for block in shared_lengths]
    typical = [float(np.median(each)) or float(each.mean()) or 1.0 for each in distances]
    start = np.log(
        np.r_[np.full(blocks, _START["amplitude"]), np.full(own, 2.0 * max(1, own)), typical, _START["noise"]]
    )

    def unpacked(logs: F64) -> tuple[F64, F64, F64, float]:
        amplitudes, squares, shared, noise = np.split(np.exp(logs), [blocks, blocks + own, len(logs) - 1])
        return amplitudes, squares, shared, float(noise[0])

    def loss(logs: F64) -> tuple[float, F64]:
        """Negative log posterior, without its constants, and its gradient."""
        amplitudes, squares, shared, noise = unpacked(logs)
        exponents = [_squared_distances(own_lengths / np.sqrt(squares)), *_divided(distances, shared)]
        parts = [amplitude * np.exp(-0.5 * each) for amplitude, each in zip(amplitudes, exponents, strict=True)]
        kernel = np.sum(parts, axis=0)
        kernel[np.diag_indices(n)] += noise + _JITTER
        factor = cho_factor(kernel, lower=True)
        alpha = cho_solve(factor, y)
        slope = 0.5 * (cho_solve(factor, np.eye(n)) - np.outer(alpha, alpha))  # of the loss by each kernel value
        by_part = [slope * part for part in parts]
        # The sum over i, k of w[i, k] (x[i] - x[k])**2 for every column at once, w being symmetric.
        pull = 2 * (by_part[0].sum(axis=0) @ own_lengths**2 - (own_lengths * (by_part[0] @ own_lengths)).sum(axis=0))
        gradient = np.r_[
            [each.sum() for each in by_part],
            0.5 * pull / squares,
            [0.5 * (each * exponent).sum() for each, exponent in zip(by_part[1:], exponents[1:], strict=True)],
            noise * np.trace(slope),
        ]
        likelihood = 0.5 * y @ alpha + np.log(np.diag(factor[0])).sum()
        away = (logs - start) / _PRIOR_STD
        return float(likelihood + 0.5 * away @ away), gradient + away / _PRIOR_STD

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations})
    amplitudes, squares, shared, noise = unpacked(found.x)
    return KernelScales(amplitudes, np.sqrt(squares), np.sqrt(shared), noise)


def _divided(distances: Sequence[F64], squares: F64) -> list[F64]:
    return [each / square for each, square in zip(distances, squares, strict=True)]


def _squared_distances(rows: F64) -> F64:
    """(N, N) squared Euclidean distances of (N, D) rows."""
    squares = np.square(rows).sum(axis=1)
    found: F64 = np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0.0)
    return found
