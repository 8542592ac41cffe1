"""Pipelines as skops files: arrays and JSON, of which nothing is built but the types that this module trusts.

skops imports all of scikit-learn, whose estimators it knows by name: so only who saves or loads imports it.
"""

import sys
from importlib import import_module
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline

from clipfarm_tasks.errors import DataError

# What the pipelines are made of beside scikit-learn's estimators and NumPy's arrays, which skops trusts by itself.
TRUSTED = (
    "numpy.clip",
    "numpy.dot",
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)
_IMPORTING = Lock()


def save(pipeline: Pipeline, path: Path) -> None:
    """Write a fitted pipeline."""
    _skops().dump(pipeline, path, compression=ZIP_DEFLATED)


def load(path: Path) -> Pipeline:
    """Read what `save` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is no skops file, or holds a type that is not in `TRUSTED`, no pipeline, or trees that lead
            outside of their arrays.
    """
    io = _skops()
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        pipeline = io.load(path, trusted=list(TRUSTED))
    except UntrustedTypesFoundException as error:
        untrusted = sorted(set(io.get_untrusted_types(file=path)) - set(TRUSTED))
        raise DataError(
            f"expected only types that a pipeline of this project is made of, got {', '.join(untrusted)}, in {path}"
        ) from error
    except (BadZipFile, KeyError) as error:
        raise DataError(f"expected a skops file, got {error}, in {path}") from error
    if not isinstance(pipeline, Pipeline):
        raise DataError(f"expected a pipeline, got {type(pipeline).__name__}, in {path}")
    _check_trees(pipeline.steps[-1][1], path)
    return pipeline


def _skops() -> ModuleType:
    """``skops.io``, imported without torch where nobody needed it so far.

    scikit-learn's adapter of torch arrays, one of the modules that skops walks over, would import it: two seconds. A
    process that loads models in several threads imports torch before.
    """
    with _IMPORTING:
        absent = "torch" not in sys.modules and "skops.io" not in sys.modules
        if absent:
            sys.modules["torch"] = None  # type: ignore[assignment]  # what makes its import an ImportError
        try:
            return import_module("skops.io")
        finally:
            if absent:
                del sys.modules["torch"]


def _check_trees(model: Any, path: Path) -> None:
    """scikit-learn follows the numbers in a tree's nodes wherever they point: refuse those that point elsewhere."""
    if not isinstance(model, HistGradientBoostingRegressor):
        return
    predictors = vars(model).get("_predictors", [])  # no public attribute has them
    for nodes in (predictor.nodes for trees in predictors for predictor in trees):
        inner = np.flatnonzero(~nodes["is_leaf"].astype(bool))
        children = np.stack([nodes["left"][inner], nodes["right"][inner]]).astype(np.int64)
        # A child comes after its parent, so that every path ends.
        inside = (children > inner) & (children < len(nodes))
        known = (nodes["feature_idx"][inner] >= 0) & (nodes["feature_idx"][inner] < model.n_features_in_)
        if not (len(nodes) and inside.all() and known.all() and not nodes["is_categorical"].any()):
            raise DataError(f"expected trees whose nodes lead to their own nodes and features, got others, in {path}")
