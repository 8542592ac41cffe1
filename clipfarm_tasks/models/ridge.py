"""ridge: RidgeCV over (numerics, one-hot categories, fused vector)."""

from dataclasses import asdict
from pathlib import Path
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from clipfarm_tasks.families import PRESETS, Family, RidgePreset
from clipfarm_tasks.models.column_transformer import linear_columns, pipeline_frame, vector_columns
from clipfarm_tasks.models.family import FitOptions, FitReport
from clipfarm_tasks.models.fitted_pipeline import FittedPipeline
from clipfarm_tasks.models.inputs import F32, ModelInputs
from clipfarm_tasks.models.log_counts import logged_columns
from clipfarm_tasks.models.required import check_columns, check_target, fitted, required_vectors
from clipfarm_tasks.models.seeds import seed_python

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
        frame = pipeline_frame(train, options.numeric_cols, options.categorical_cols, "fused", fused)
        pre = linear_columns(
            options.numeric_cols, log_cols, options.categorical_cols, vector_columns("fused", fused.shape[1])
        )
        with threadpool_limits(options.threads):
            model = fit_ridge(pre.fit_transform(frame), train_target.astype(np.float64), RECIPE)
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


def fit_ridge(features: NDArray[np.float64], target: NDArray[np.float64], recipe: RidgePreset) -> RidgeCV:
    """RidgeCV on the preset's grid, continued upward when the best penalty is the grid's largest.

    Leave-one-out errors of all penalties come from one eigendecomposition of the smaller Gram matrix, so when the grid
    has to grow it grows to ``max_alpha`` at once: a second decomposition, where one per step could be nine.

    Args:
        features: (N, P) float64.
        target: (N,) float64.
        recipe: the grid and how it continues.
    """
    model = RidgeCV(alphas=list(recipe.alphas)).fit(features, target)
    if model.alpha_ < max(recipe.alphas):
        return model
    alphas = list(recipe.alphas)
    while alphas[-1] * recipe.alpha_step <= recipe.max_alpha:
        alphas.append(alphas[-1] * recipe.alpha_step)
    return RidgeCV(alphas=alphas).fit(features, target)
