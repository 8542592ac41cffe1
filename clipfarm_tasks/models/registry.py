"""From a family's name to its model, importing only what that family needs."""

from importlib import import_module
from pathlib import Path

from clipfarm_tasks.families import Family
from clipfarm_tasks.models.family import ModelFamily

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
    model: ModelFamily = getattr(import_module(module), name)()
    return model


def load(family: Family, folder: Path) -> ModelFamily:
    """A fitted model of ``family`` from the files `ModelFamily.save` wrote into ``folder``.

    Raises:
        FileNotFoundError: a file of the family is not in the folder.
        DataError: a file holds something else than a model of the family.
    """
    model = create(family)
    model.load(folder)
    return model
