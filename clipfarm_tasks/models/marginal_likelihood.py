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
_FARTHEST = 10.0  # from its start, in logarithms: a step beyond could leave no kernel that has a factor
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
            (automatic relevance determination). It may have no column, as may any other block: it is constant then.
        shared_lengths: blocks (N, D) float64, in each of which all columns share one length scale.
        target: (N,) float64.
        iterations: most steps of the optimiser.
    """
    loss = NegativeLogPosterior(own_lengths, shared_lengths, target)
    bounds = [(each - _FARTHEST, each + _FARTHEST) for each in loss.start]
    options = {"maxiter": iterations}
    return loss.scales(minimize(loss, loss.start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x)


class NegativeLogPosterior:
    """What `choose_scales` makes small, without its constants, as a function of the logarithms of all scales.

    Attributes:
        start: (P,) where the search starts, and where the prior is highest.
    """

    def __init__(self, own_lengths: F64, shared_lengths: Sequence[F64], target: F64) -> None:
        """Of N rows; the arguments are those of `choose_scales`."""
        centred = target - target.mean()
        self._target = centred / (centred.std() or 1.0)
        self._own = own_lengths
        self._distances = [_squared_distances(block) for block in shared_lengths]
        self._blocks, own = 1 + len(shared_lengths), own_lengths.shape[1]
        typical = [float(np.median(each)) or float(each.mean()) or 1.0 for each in self._distances]
        amplitudes = np.full(self._blocks, _START["amplitude"])
        self.start: F64 = np.log(np.r_[amplitudes, np.full(own, 2.0 * max(1, own)), typical, _START["noise"]])

    def scales(self, logs: F64) -> KernelScales:
        """The kernel of (P,) logarithms: of the amplitudes, of the squares of the length scales, of the noise."""
        amplitudes, squares, shared, noise = self._unpacked(logs)
        return KernelScales(amplitudes, np.sqrt(squares), np.sqrt(shared), noise)

    def __call__(self, logs: F64) -> tuple[float, F64]:
        """The value for (P,) logarithms, and its gradient (P,)."""
        amplitudes, squares, shared, noise = self._unpacked(logs)
        exponents = [
            _squared_distances(self._own / np.sqrt(squares)),
            *(each / square for each, square in zip(self._distances, shared, strict=True)),
        ]
        parts = [amplitude * np.exp(-0.5 * each) for amplitude, each in zip(amplitudes, exponents, strict=True)]
        kernel = np.sum(parts, axis=0)
        kernel[np.diag_indices(len(kernel))] += noise + _JITTER
        factor = cho_factor(kernel, lower=True)
        alpha = cho_solve(factor, self._target)
        slope = 0.5 * (cho_solve(factor, np.eye(len(kernel))) - np.outer(alpha, alpha))  # by each value of the kernel
        by_part = [slope * part for part in parts]
        gradient = np.r_[
            [each.sum() for each in by_part],
            _pull(by_part[0], self._own) / squares / 2,
            [0.5 * (each * exponent).sum() for each, exponent in zip(by_part[1:], exponents[1:], strict=True)],
            noise * np.trace(slope),
        ]
        likelihood = 0.5 * self._target @ alpha + np.log(np.diag(factor[0])).sum()
        away = (logs - self.start) / _PRIOR_STD
        return float(likelihood + 0.5 * away @ away), gradient + away / _PRIOR_STD

    def _unpacked(self, logs: F64) -> tuple[F64, F64, F64, float]:
        edges = [self._blocks, self._blocks + self._own.shape[1], len(logs) - 1]
        amplitudes, squares, shared, noise = np.split(np.exp(logs), edges)
        return amplitudes, squares, shared, float(noise[0])


def _pull(weights: F64, rows: F64) -> F64:
    """(F,) the sum over i and k of weights[i, k] * (rows[i] - rows[k])**2, of symmetric (N, N) weights, (N, F) rows."""
    found: F64 = 2 * (weights.sum(axis=0) @ rows**2 - (rows * (weights @ rows)).sum(axis=0))
    return found


def _squared_distances(rows: F64) -> F64:
    """(N, N) squared Euclidean distances of (N, D) rows."""
    squares = np.square(rows).sum(axis=1)
    found: F64 = np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0.0)
    return found
