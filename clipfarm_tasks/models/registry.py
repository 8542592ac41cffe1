"""From a family's name to its model, importing only what that family needs."""

from functools import partial
from importlib import import_module
from pathlib import Path

from clipfarm_tasks.families import ENSEMBLE, PRESETS, Family, ModelName, Recipe
from clipfarm_tasks.models.bagged import BaggedFamily, bags_in
from clipfarm_tasks.models.family import ModelFamily, Predictor
from clipfarm_tasks.models.learnt_features import WithLearntFeatures


def create(family: Family, recipe: Recipe | None = None, bags: int = 1) -> ModelFamily:
    """An unfitted model of ``family``, whose module is called like it; without a recipe, that of its preset.

    With several bags it is the mean of as many fits, if its seed makes a difference to the family.

    The module is imported here and not above, because an import costs: ridge must not pay for torch.
    """
    module, preset = import_module(f"clipfarm_tasks.models.{family}"), PRESETS[family]
    one = partial(module.create, recipe or preset.hyperparams)
    return WithLearntFeatures(family, BaggedFamily(one, bags) if bags > 1 and preset.is_seeded else one())


def load(name: ModelName, folder: Path) -> Predictor:
    """A fitted model of a family, or a pair's ensemble, from the files that were saved into ``folder``.

    Raises:
        FileNotFoundError: a file of the model is not in the folder.
        DataError: a file holds something else than such a model.
    """
    if name != ENSEMBLE:
        return _load(Family(name), folder)
    from clipfarm_tasks.models.ensemble import Ensemble, read_weights  # it imports scikit-learn

    return Ensemble({family: (weight, _load(family, folder)) for family, weight in read_weights(folder).items()})


def _load(family: Family, folder: Path) -> ModelFamily:
    model = create(family, bags=bags_in(folder, family))
    model.load(folder)
    return model
