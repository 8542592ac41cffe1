"""RidgeCV for more rows than columns, from passes over blocks of rows: what it keeps is (P, P), never (N, P)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import RidgeCV

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.models.inputs import F64

Blocks = Callable[[], Iterable[F64]]
_EPSILON = np.finfo(np.float64).eps


@dataclass(frozen=True)
class NormalEquations:
    """Sums over N rows of P features.

    Attributes:
        mean: (P,) means of the features.
        target_mean: mean of the target.
        gram: (P, P) products of the centred features.
        moment: (P,) products of the centred features and the target.
    """

    mean: F64
    target_mean: float
    gram: F64
    moment: F64


class StreamedRidge:
    """What `RidgeCV(alphas).fit` does, for any number of grids over the same rows.

    The error of leaving row i out of a ridge regression with a free intercept is (y_i - fit_i) / (1 - h_i). With the
    eigendecomposition V diag(s) V' of the centred gram matrix and z_i = V' (x_i - mean), the leverage h_i is
    1/N + sum_j z_ij^2 / (s_j + alpha): one decomposition and one product per row serve every alpha (Rifkin and
    Lippert, "Notes on Regularized Least Squares", MIT-CSAIL-TR-2007-025, section 3).

    Attributes:
        squares: sum of squares of the centred features.
    """

    def __init__(self, blocks: Blocks, target: F64) -> None:
        """Pass over the rows once.

        Args:
            blocks: called once here and once by `fit`; yields the features as consecutive (B, P) float64 blocks of any
                sizes.
            target: (N,) float64.

        Raises:
            DataError: features so large that their products overflow.
        """
        self._blocks, self._target = blocks, target
        self._sums = _sums(blocks(), target)
        _require_finite(self._sums.gram, "products of features")
        self.squares = float(np.trace(self._sums.gram))
        eigenvalues, self._vectors = np.linalg.eigh(self._sums.gram)
        self._spectrum = np.maximum(eigenvalues, 0.0)  # rounding leaves a collinear direction a little below 0

    def fit(self, alphas: list[float]) -> RidgeCV:
        """The fit with the penalty of the smallest leave-one-out error; passes over the rows once more.

        Raises:
            DataError: a target so large that the errors overflow.
        """
        rotated = self._vectors.T @ self._sums.moment  # (P,)
        inverse = 1.0 / (self._spectrum[:, None] + np.array(alphas))  # (P, A)
        weights = rotated[:, None] * inverse
        scores = -_leave_one_out(self._blocks(), self._target, self._sums, self._vectors, weights, inverse)
        _require_finite(scores, "leave-one-out errors")
        best = int(np.argmax(scores))
        model = RidgeCV(alphas=alphas)
        model.alpha_ = alphas[best]
        model.best_score_ = float(scores[best])
        model.coef_ = self._vectors @ weights[:, best]
        model.intercept_ = self._sums.target_mean - float(self._sums.mean @ model.coef_)
        model.n_features_in_ = len(self._sums.mean)
        return model


def _sums(blocks: Iterable[F64], target: F64) -> NormalEquations:
    target_mean = float(target.mean())
    shift, total, gram, moment, start = np.zeros(0), np.zeros(0), np.zeros((0, 0)), np.zeros(0), 0
    for block in blocks:
        if start == 0:
            # Sums about a row's neighbourhood: about 0, a column far from it would lose its digits to its mean.
            shift = block.mean(axis=0)
            total, gram, moment = np.zeros_like(shift), np.zeros((len(shift), len(shift))), np.zeros_like(shift)
        moved = block - shift
        total += moved.sum(axis=0)
        gram += moved.T @ moved
        moment += moved.T @ (target[start : start + len(block)] - target_mean)
        start += len(block)
    centre = total / len(target)
    gram -= np.outer(total, centre)
    return NormalEquations(shift + centre, target_mean, gram, moment)


def _leave_one_out(
    blocks: Iterable[F64], target: F64, sums: NormalEquations, vectors: F64, weights: F64, inverse: F64
) -> F64:
    """(A,) mean squared errors of leaving one row out, by penalty; ``weights`` (P, A) are in the basis ``vectors``."""
    squares, start = np.zeros(inverse.shape[1]), 0
    for block in blocks:
        rotated = (block - sums.mean) @ vectors  # (B, P)
        residual = (target[start : start + len(block)] - sums.target_mean)[:, None] - rotated @ weights  # (B, A)
        leverage = 1.0 / len(target) + np.square(rotated) @ inverse
        # A row that alone tells a coefficient has a leverage of nearly 1, which may round to 1 and beyond.
        squares += np.square(residual / np.maximum(1.0 - leverage, _EPSILON)).sum(axis=0)
        start += len(block)
    return squares / len(target)


def _require_finite(values: F64, what: str) -> None:
    unusable = values[~np.isfinite(values)]
    if unusable.size:
        raise DataError(f"expected finite {what}, got {unusable[0]}, in ridge: features or target are too large")
