"""ridge: RidgeCV over (numerics, one-hot categories, fused vector)."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.families import PRESETS, Family, RidgePreset
from clipfarm_tasks.models.column_transformer import (
    linear_columns,
    metadata_frame,
    vector_columns,
    with_vectors,
)
from clipfarm_tasks.models.family import FitOptions, FitReport
from clipfarm_tasks.models.fitted_pipeline import FittedPipeline
from clipfarm_tasks.models.inputs import BLOCK_ROWS, F32, F64, ModelInputs
from clipfarm_tasks.models.log_counts import logged_columns
from clipfarm_tasks.models.required import check_columns, check_target, fitted, required_vectors
from clipfarm_tasks.models.ridge_grid import fit_ridge
from clipfarm_tasks.models.seeds import seed_python

NAME = Family.RIDGE
RECIPE = cast("RidgePreset", PRESETS[NAME].hyperparams)


class RidgeFamily:
    """The family; see `clipfarm_tasks.models.family.ModelFamily` for the contract."""

    def __init__(self, recipe: RidgePreset = RECIPE) -> None:
        """Unfitted."""
        self._recipe = recipe
        self._pipeline: FittedPipeline | None = None

    def fit(
        self, train: ModelInputs, train_target: F32, val: ModelInputs, val_target: F32, options: FitOptions
    ) -> FitReport:
        """Learn from the train part; the penalty is chosen by leave-one-out error on it, so ``val`` decides nothing.

        Raises:
            DataError: ``fused`` or a metadata column is missing, or the target is not that of the rows.
        """
        check_target(val, val_target, "validation")
        self._pipeline, found = _fit(train, train_target, options, self._recipe)
        return FitReport(hyperparams={**asdict(self._recipe), **found})

    def refit(self, rows: ModelInputs, target: F32, options: FitOptions) -> dict[str, Any]:
        """Choose the penalty again, by leave-one-out error on all rows: no part was held out for it before.

        Raises:
            RuntimeError: the instance was not fitted.
        """
        fitted(self._pipeline, NAME)
        self._pipeline, found = _fit(rows, target, options, self._recipe)
        return found

    def predict(self, rows: ModelInputs) -> F32:
        """(N,) float32 predictions of ``target_log``.

        Raises:
            DataError: ``fused`` is missing or of another width than in the fit, or a metadata column is missing.
        """
        pipeline = fitted(self._pipeline, NAME)
        return pipeline.predict(rows, required_vectors(rows, "fused", NAME, len(pipeline.vector_cols)), NAME)

    def save(self, folder: Path) -> list[Path]:
        """Write ``ridge.skops`` and ``ridge.joblib``."""
        return fitted(self._pipeline, NAME).save(folder, NAME)

    def load(self, folder: Path) -> None:
        """Read ``ridge.skops``."""
        self._pipeline = FittedPipeline.load(folder, NAME)


def create(recipe: RidgePreset = RECIPE) -> RidgeFamily:
    """An unfitted model of the family."""
    return RidgeFamily(recipe)


def _fit(
    train: ModelInputs, target: F32, options: FitOptions, recipe: RidgePreset
) -> tuple[FittedPipeline, dict[str, Any]]:
    """The pipeline, and what was found."""
    check_target(train, target, "train")
    check_columns(train, (*options.numeric_cols, *options.categorical_cols), NAME)
    fused = required_vectors(train, "fused", NAME)
    seed_python(options.seed)
    log_cols = logged_columns(train.metadata, options.numeric_cols, options.feature_set)
    metadata = metadata_frame(train.metadata, options.numeric_cols, options.categorical_cols)
    vectors = vector_columns("fused", fused.shape[1])
    scale = _unit_scale(fused)
    with threadpool_limits(options.threads):
        pre = linear_columns(
            metadata,
            options.numeric_cols,
            log_cols,
            options.categorical_cols,
            vectors,
            scale,
            recipe.categories,
            is_held=options.feature_set is FeatureSet.V3,
        )

        def blocks(size: int) -> Iterator[F64]:
            for start in range(0, len(fused), size):
                block = slice(start, start + size)
                yield pre.transform(with_vectors(metadata[block], vectors, fused[block]))

        width = max(part.stop for part in pre.output_indices_.values())
        model = fit_ridge(blocks, width, target.astype(np.float64), recipe)
    found = {
        "alpha": float(model.alpha_),
        "alphas": [float(alpha) for alpha in model.alphas],
        "vector_scale": scale,
        "log_cols": list(log_cols),
    }
    return FittedPipeline.of(Pipeline([("pre", pre), ("model", model)])), found


def _unit_scale(vectors: F32) -> float:
    """What takes (N, D) vectors to a mean squared norm of 1, about their origin; 1 if all are 0.

    With it a penalty means the same in whatever unit an encoder writes its vectors.
    """
    blocks = (vectors[start : start + BLOCK_ROWS] for start in range(0, len(vectors), BLOCK_ROWS))
    squares = sum(float(np.square(block, dtype=np.float64).sum()) for block in blocks)
    return math.sqrt(len(vectors) / squares) if squares else 1.0
