"""ridge: RidgeCV over (numerics, one-hot categories, fused vector)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Self, cast

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from clipfarm_tasks.families import PRESETS, Family, RidgePreset
from clipfarm_tasks.models.column_transformer import linear_columns, metadata_frame, with_vectors
from clipfarm_tasks.models.family import FitOptions, FitReport
from clipfarm_tasks.models.fitted_pipeline import FittedPipeline
from clipfarm_tasks.models.inputs import BLOCK_ROWS, F32, ModelInputs
from clipfarm_tasks.models.log_counts import logged_columns
from clipfarm_tasks.models.required import check_columns, check_target, fitted, required_vectors
from clipfarm_tasks.models.seeds import seed_python
from clipfarm_tasks.models.streamed_ridge import F64, fit_streamed

NAME = Family.RIDGE
FILE = "ridge.joblib"
RECIPE = cast("RidgePreset", PRESETS[NAME].hyperparams)


class RidgeFamily:
    """The family; see `clipfarm_tasks.models.family.ModelFamily` for the contract."""

    def __init__(self, pipeline: FittedPipeline | None = None) -> None:
        """Unfitted, unless given a fitted pipeline."""
        self._pipeline = pipeline

    def fit(
        self, train: ModelInputs, train_target: F32, val: ModelInputs, val_target: F32, options: FitOptions
    ) -> FitReport:
        """Learn from the train part; the penalty is chosen by leave-one-out error on it, so ``val`` decides nothing.

        Raises:
            DataError: ``fused`` or a metadata column is missing, or the target is not that of the rows.
        """
        check_target(train, train_target, "train")
        check_target(val, val_target, "validation")
        check_columns(train, (*options.numeric_cols, *options.categorical_cols), NAME)
        fused = required_vectors(train, "fused", NAME)
        seed_python(options.seed)
        log_cols = logged_columns(train.metadata, options.numeric_cols, options.feature_set)
        columns = (options.numeric_cols, options.categorical_cols)
        metadata = metadata_frame(train.metadata, *columns)
        with threadpool_limits(options.threads):
            pre = linear_columns(
                metadata, options.numeric_cols, log_cols, options.categorical_cols, "fused", fused.shape[1]
            )

            def blocks(size: int) -> Iterator[F64]:
                for start in range(0, len(fused), size):
                    block = slice(start, start + size)
                    yield pre.transform(with_vectors(metadata[block], "fused", fused[block]))

            width = max(part.stop for part in pre.output_indices_.values())
            model = fit_ridge(blocks, width, train_target.astype(np.float64), RECIPE)
        self._pipeline = FittedPipeline.of(Pipeline([("pre", pre), ("model", model)]), "fused")
        found = {
            "alpha": float(model.alpha_),
            "alphas": [float(alpha) for alpha in model.alphas],
            "log_cols": list(log_cols),
        }
        return FitReport(hyperparams={**asdict(RECIPE), **found})

    def predict(self, rows: ModelInputs) -> F32:
        """(N,) float32 predictions of ``target_log``.

        Raises:
            DataError: ``fused`` is missing or of another width than in the fit, or a metadata column is missing.
        """
        pipeline = fitted(self._pipeline, NAME)
        return pipeline.predict(rows, required_vectors(rows, "fused", NAME, pipeline.width), NAME)

    def save(self, folder: Path) -> list[Path]:
        """Write ``ridge.joblib``."""
        return [fitted(self._pipeline, NAME).save(folder / FILE)]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read ``ridge.joblib``."""
        return cls(FittedPipeline.load(folder / FILE, "fused"))


def fit_ridge(blocks: Callable[[int], Iterable[F64]], width: int, target: F64, recipe: RidgePreset) -> RidgeCV:
    """RidgeCV on the preset's grid, continued upward to ``max_alpha`` when the best penalty is the grid's largest.

    Leave-one-out errors of all penalties come from one eigendecomposition of the smaller Gram matrix. Up to as many
    rows as columns that is (N, N) and scikit-learn's own fit will do: the features are no larger than (P, P). With
    more rows they stay in blocks.

    Args:
        blocks: yields the (N, P) features as consecutive float64 blocks of the given number of rows, the last smaller.
        width: P.
        target: (N,) float64.
        recipe: the grid and how it continues.
    """
    alphas = list(recipe.alphas)
    grown = list(alphas)
    while grown[-1] * recipe.alpha_step <= recipe.max_alpha:
        grown.append(grown[-1] * recipe.alpha_step)
    if len(target) > width:
        return fit_streamed(partial(blocks, BLOCK_ROWS), target, alphas, grown)
    (features,) = blocks(len(target))
    model = RidgeCV(alphas=alphas).fit(features, target)
    return model if model.alpha_ < max(alphas) else RidgeCV(alphas=grown).fit(features, target)
