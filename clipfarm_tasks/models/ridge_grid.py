"""The penalties that ridge chooses from: the preset's grid, continued where the best of it is at an edge."""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from sklearn.linear_model import RidgeCV

from clipfarm_tasks.families import RidgePreset
from clipfarm_tasks.models.inputs import BLOCK_ROWS, F64
from clipfarm_tasks.models.streamed_ridge import StreamedRidge


def fit_ridge(blocks: Callable[[int], Iterable[F64]], width: int, target: F64, recipe: RidgePreset) -> RidgeCV:
    """RidgeCV on the grid of ``recipe``, and once more on the continued one when the best penalty is at an edge.

    Leave-one-out errors of all penalties come from one eigendecomposition of the smaller Gram matrix. Up to as many
    rows as columns that is (N, N) and scikit-learn's own fit will do: the features are no larger than (P, P). With
    more rows they stay in blocks.

    Args:
        blocks: yields the (N, P) features as consecutive float64 blocks of the given number of rows, the last smaller.
        width: P.
        target: (N,) float64.
        recipe: the grid and how it continues.
    """
    fit: Callable[[list[float]], RidgeCV]
    if len(target) > width:
        streamed = StreamedRidge(partial(blocks, BLOCK_ROWS), target)
        fit, squares = streamed.fit, streamed.squares
    else:
        (features,) = blocks(len(target))
        fit, squares = (
            lambda alphas: RidgeCV(alphas=alphas).fit(features, target),
            float(np.square(features - features.mean(axis=0)).sum()),
        )
    model = fit(list(recipe.alphas))
    grid = _continued(recipe, model.alpha_, squares)
    return model if len(grid) == len(recipe.alphas) else fit(grid)


def _continued(recipe: RidgePreset, best: float, squares: float) -> list[float]:
    """The grid, and what follows at the edge that the best penalty is at."""
    grid = list(recipe.alphas)
    if best == recipe.alphas[0]:
        # Greater than 0: features that are all constant have no squares, and the grid would never end.
        while grid[0] / recipe.alpha_step >= recipe.min_share * squares > 0:
            grid.insert(0, grid[0] / recipe.alpha_step)
    if best == recipe.alphas[-1]:
        while grid[-1] * recipe.alpha_step <= recipe.max_share * squares:
            grid.append(grid[-1] * recipe.alpha_step)
    return grid
