"""ensemble: a non-negative blend of a pair's families, with weights shrunk towards equal ones."""

import json
from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import ENSEMBLE, Family
from clipfarm_tasks.models.family import ModelFamily
from clipfarm_tasks.models.inputs import F32, F64, ModelInputs

FILE = "ensemble.json"
FOLDS = 5
# Pulls the weights towards equal ones as strongly as a tenth of the members' mean squared error. On eleven splits of
# real posts 0.01, 0.1 and 0.5 differed by at most 0.3 % of the test RMSE, and equal weights alone by 0.4 %.
SHRINKAGE = 0.1
_SUM_WEIGHT = 1e4  # of the equation that the weights add up to 1, against all others


def blend_weights(predictions: F64, target: F64) -> F64:
    """(M,) weights of M members, none negative, that add up to 1.

    They minimise the mean squared error of the blend plus ``SHRINKAGE`` times the members' mean squared error times the
    squared distance of the weights from equal ones: stacked regression (Breiman, "Stacked regressions", Machine
    Learning 24, 1996) with a ridge towards the mean.

    Args:
        predictions: (N, M) predictions of rows that trained none of the members.
        target: (N,) what they predict.
    """
    rows, members = predictions.shape
    errors = predictions - target[:, None]  # of weights that add up to 1, the blend's error is theirs
    scale = float(np.sqrt(rows * np.square(errors).mean()))
    pull = np.sqrt(SHRINKAGE) * scale
    equations = np.vstack([errors, pull * np.eye(members), np.full((1, members), _SUM_WEIGHT * scale)])
    wanted = np.concatenate([np.zeros(rows), np.full(members, pull / members), [_SUM_WEIGHT * scale]])
    if not scale:
        return np.full(members, 1 / members)  # all members are right about every row
    found = LinearRegression(fit_intercept=False, positive=True).fit(equations, wanted).coef_
    weights: F64 = found / found.sum()
    return weights


def blend(predictions: Iterable[F64], weights: Iterable[float]) -> F64:
    """(N,) weighted sum of M predictions (N,), added up in their order: the same bits for a row wherever it stands."""
    return reduce(np.add, (weight * column for weight, column in zip(weights, predictions, strict=True)))


def cross_fitted(predictions: F64, target: F64, creators: "pd.Series[str]") -> F64:
    """(N,) blended predictions, each with weights that were fitted without the videos of its creator.

    So the blend is not better on these rows for having been fitted on them. Creators are dealt into five folds by their
    first appearance; with one creator alone there is nothing to leave out, and the weights are equal.

    Args:
        predictions: (N, M) predictions of rows that trained none of the members.
        target: (N,) what they predict.
        creators: (N,) whose video each row is.
    """
    fold = pd.factorize(creators)[0] % FOLDS
    blended: F64 = predictions.mean(axis=1)
    for number in np.unique(fold):
        own = fold == number
        if not own.all():
            blended[own] = blend(predictions[own].T, blend_weights(predictions[~own], target[~own]))
    return blended


class Ensemble:
    """Fitted members and their weights."""

    def __init__(self, members: Mapping[Family, tuple[float, ModelFamily]]) -> None:
        """By family: the weight and the fitted model."""
        self._members = members

    def predict(self, rows: ModelInputs) -> F32:
        """(N,) float32 predictions of ``target_log``.

        Raises:
            DataError: a member lacks an input.
        """
        predictions = [model.predict(rows).astype(np.float64) for _, model in self._members.values()]
        return blend(predictions, [weight for weight, _ in self._members.values()]).astype(np.float32)


def write_weights(folder: Path, weights: Mapping[Family, float]) -> None:
    """Write ``ensemble.json`` beside the members' files."""
    (folder / FILE).write_text(json.dumps({"weights": {str(name): value for name, value in weights.items()}}, indent=1))


def read_weights(folder: Path) -> dict[Family, float]:
    """Weights by family.

    Raises:
        DataError: they are no weights of families.
    """
    try:
        found = {
            Family(name): float(value) for name, value in json.loads((folder / FILE).read_text())["weights"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"expected the weights of families, got {error!r}, in {folder / FILE} of {ENSEMBLE}") from error
    return found
