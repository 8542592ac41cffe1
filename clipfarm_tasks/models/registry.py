"""From a family's name to its class, importing only what that family needs."""

from importlib import import_module
from pathlib import Path

from clipfarm_tasks.families import Family
from clipfarm_tasks.models.family import ModelFamily

# By name, because an import costs: ridge must not pay for torch, nor the networks for scikit-learn.
_CLASSES = {
    Family.CONCAT_MLP: ("clipfarm_tasks.models.concat_mlp", "ConcatMlpFamily"),
    Family.GATED_FUSION_MLP: ("clipfarm_tasks.models.gated_fusion_mlp", "GatedFusionMlpFamily"),
    Family.RIDGE: ("clipfarm_tasks.models.ridge", "RidgeFamily"),
    Family.GBDT: ("clipfarm_tasks.models.gbdt", "GbdtFamily"),
}


def create(family: Family) -> ModelFamily:
    """An unfitted model of ``family``."""
    return _class_of(family)()


def load(family: Family, folder: Path) -> ModelFamily:
    """A fitted model of ``family`` from the files `ModelFamily.save` wrote into ``folder``.

    Raises:
        FileNotFoundError: a file of the family is not in the folder.
    """
    return _class_of(family).load(folder)


def _class_of(family: Family) -> type[ModelFamily]:
    module, name = _CLASSES[family]
    found: type[ModelFamily] = getattr(import_module(module), name)
    return found
