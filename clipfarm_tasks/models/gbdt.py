"""gbdt: histogram gradient boosting over (numerics, one-hot categories, projection of the fused vector)."""

import statistics
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from clipfarm_tasks.families import PRESETS, Family, GbdtPreset
from clipfarm_tasks.models.column_transformer import metadata_frame, tree_columns, vector_columns, with_vectors
from clipfarm_tasks.models.device import resolve_device
from clipfarm_tasks.models.family import FitOptions, FitReport
from clipfarm_tasks.models.fitted_pipeline import FittedPipeline
from clipfarm_tasks.models.inputs import F32, ModelInputs
from clipfarm_tasks.models.log_counts import logged_columns
from clipfarm_tasks.models.projector import CURVE, Projector, projector_options
from clipfarm_tasks.models.required import check_columns, check_target, fitted, required_vectors
from clipfarm_tasks.models.rows import Labelled
from clipfarm_tasks.models.training_loop import Trained

NAME = Family.GBDT
RECIPE = cast("GbdtPreset", PRESETS[NAME].hyperparams)


_Part = tuple[ModelInputs, F32, F32]


class _Chosen(NamedTuple):
    """What validation decided: the training of the projector of each fold, and the number of trees."""

    projector: tuple[Trained, ...]
    trees: int


class GbdtFamily:
    """The family; see `clipfarm_tasks.models.family.ModelFamily` for the contract."""

    def __init__(self, recipe: GbdtPreset = RECIPE) -> None:
        """Unfitted."""
        self._recipe = recipe
        self._projector: Projector | None = None
        self._pipeline: FittedPipeline | None = None
        self._chosen: _Chosen | None = None

    def fit(
        self, train: ModelInputs, train_target: F32, val: ModelInputs, val_target: F32, options: FitOptions
    ) -> FitReport:
        """Fit the projector, then the trees on projections; both learn from the train part and stop on ``val``.

        The trees learn from out-of-fold projections and predict from that of the folds' mean (`Projector.cross_fit`).

        The trees get ``val`` for their early stopping too, not a tenth of the train part: that tenth would be rows the
        projector was fitted on, on which its projection looks better than it is. On 2,800 real posts it is worth 0.004
        of R2, in the mean of four splits, and no train row is given away.

        Raises:
            ConfigError: the device asked for does not exist.
            DataError: ``fused`` or a metadata column is missing, or a target is not that of its rows.
            TransientError: the device is out of memory.
        """
        check_target(train, train_target, "train")
        check_target(val, val_target, "validation")
        for rows in (train, val):
            check_columns(rows, (*options.numeric_cols, *options.categorical_cols), NAME)
        train_fused = required_vectors(train, "fused", NAME)
        val_fused = required_vectors(val, "fused", NAME, train_fused.shape[1])
        parts = Labelled((train_fused,), train_target), Labelled((val_fused,), val_target)
        cross_fitted = Projector.cross_fit(*parts, options, recipe=self._recipe)
        self._projector = cross_fitted.projector
        held_out = (val, self._projector(val_fused), val_target)
        self._pipeline = _fit_trees((train, cross_fitted.projected, train_target), held_out, self._recipe, options)
        self._chosen = _Chosen(cross_fitted.trained, int(self._pipeline.pipeline.named_steps["model"].n_iter_))
        held = projector_options(options)
        best_epochs = [one.best_epoch for one in cross_fitted.trained]
        found = {
            "projector_dim": options.projector_dim,
            "projector_max_epochs": held.max_epochs,
            "projector_patience": held.patience,
            "projector_best_epoch": round(statistics.median(best_epochs)),
            "projector_best_epochs": best_epochs,
            "trees": self._chosen.trees,
            "log_cols": list(logged_columns(train.metadata, options.numeric_cols, options.feature_set)),
        }
        recipe = asdict(self._recipe)
        recipe["projector"] |= {
            "hidden": list(self._recipe.projector.hidden),
            "batch_size": cross_fitted.trained[0].batch_size,
        }
        return FitReport({CURVE: cross_fitted.curve}, {**recipe, **found}, resolve_device(options.device).type)

    def refit(self, rows: ModelInputs, target: F32, options: FitOptions) -> dict[str, Any]:
        """Fit the projector for as many epochs, and as many trees, as `fit` chose.

        Raises:
            RuntimeError: the instance was not fitted here.
            TransientError: the device is out of memory.
        """
        chosen = fitted(self._chosen, NAME)
        recipe = replace(self._recipe, max_iter=chosen.trees)
        part = Labelled((required_vectors(rows, "fused", NAME),), target)
        cross_fitted = Projector.cross_fit(part, None, options, chosen.projector, self._recipe)
        self._projector = cross_fitted.projector
        self._pipeline = _fit_trees((rows, cross_fitted.projected, target), None, recipe, options)
        return {"log_cols": list(logged_columns(rows.metadata, options.numeric_cols, options.feature_set))}

    def predict(self, rows: ModelInputs) -> F32:
        """(N,) float32 predictions of ``target_log``.

        Raises:
            DataError: ``fused`` is missing or of another width than in the fit, or a metadata column is missing.
        """
        projector = fitted(self._projector, NAME)
        fused = required_vectors(rows, "fused", NAME, projector.input_dim)
        return fitted(self._pipeline, NAME).predict(rows, projector(fused), NAME)

    def save(self, folder: Path) -> list[Path]:
        """Write ``gbdt_projector.pt``, ``gbdt.skops`` and ``gbdt.joblib``."""
        return [fitted(self._projector, NAME).save(folder), *fitted(self._pipeline, NAME).save(folder, NAME)]

    def load(self, folder: Path) -> None:
        """Read ``gbdt_projector.pt`` and ``gbdt.skops``."""
        self._projector = Projector.load(folder)
        self._pipeline = FittedPipeline.load(folder, NAME)


def create(recipe: GbdtPreset = RECIPE) -> GbdtFamily:
    """An unfitted model of the family."""
    return GbdtFamily(recipe)


def _fit_trees(train: _Part, val: _Part | None, recipe: GbdtPreset, options: FitOptions) -> FittedPipeline:
    """``pre`` and the trees, from rows with their projections and targets; ``val``, if any, stops them early."""
    columns = (options.numeric_cols, options.categorical_cols)
    vectors = vector_columns("proj", options.projector_dim)

    def frame_of(part: _Part) -> pd.DataFrame:
        return with_vectors(metadata_frame(part[0].metadata, *columns), vectors, part[1])

    frame = frame_of(train)
    pre = tree_columns(
        options.numeric_cols,
        logged_columns(train[0].metadata, options.numeric_cols, options.feature_set),
        [name for name in options.numeric_cols if frame[name].isna().all()],
        options.categorical_cols,
        vectors,
        recipe.categories,
    )
    model = HistGradientBoostingRegressor(
        learning_rate=recipe.learning_rate,
        max_depth=recipe.max_depth,
        max_iter=recipe.max_iter,
        min_samples_leaf=recipe.min_samples_leaf,
        l2_regularization=recipe.l2_regularization,
        max_features=recipe.max_features,
        early_stopping=val is not None,
        random_state=options.seed,
    )
    with threadpool_limits(options.threads):
        features = pre.fit_transform(frame)
        held_out = {"X_val": pre.transform(frame_of(val)), "y_val": val[2].astype(np.float64)} if val else {}
        model.fit(features, train[2].astype(np.float64), **held_out)
    return FittedPipeline.of(Pipeline([("pre", pre), ("model", model)]))
