"""From a family's name to its model, importing only what that family needs."""

from importlib import import_module
from pathlib import Path

from clipfarm_tasks.families import ENSEMBLE, Family, ModelName
from clipfarm_tasks.models.family import ModelFamily, Predictor
from clipfarm_tasks.models.learnt_features import WithLearntFeatures

# By name, because an import costs: ridge must not pay for torch, nor the networks for scikit-learn.
_MAKERS = {
    Family.CONCAT_MLP: ("clipfarm_tasks.models.concat_mlp", "concat_mlp"),
    Family.GATED_FUSION_MLP: ("clipfarm_tasks.models.gated_fusion_mlp", "gated_fusion_mlp"),
    Family.RIDGE: ("clipfarm_tasks.models.ridge", "RidgeFamily"),
    Family.GBDT: ("clipfarm_tasks.models.gbdt", "GbdtFamily"),
}


def create(family: Family) -> ModelFamily:
    """An unfitted model of ``family``."""
    module, name = _MAKERS[family]
    return WithLearntFeatures(family, getattr(import_module(module), name)())


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
    model = create(family)
    model.load(folder)
    return model
