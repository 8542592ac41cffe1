"""What concat_mlp and gated_fusion_mlp have in common: fit, predict and file of a network over vectors and metadata."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from torch import nn

from clipfarm_tasks.families import Family, NeuralPreset
from clipfarm_tasks.models.device import resolve_device
from clipfarm_tasks.models.family import FitOptions, FitReport
from clipfarm_tasks.models.inputs import F32, ModelInputs
from clipfarm_tasks.models.network import fit_network, load_plain, save_plain
from clipfarm_tasks.models.preprocess import Preprocess
from clipfarm_tasks.models.required import VectorName, check_columns, check_target, required_vectors
from clipfarm_tasks.models.rows import Arrays, Labelled
from clipfarm_tasks.models.training_loop import Trained, predict


@dataclass(frozen=True)
class Design:
    """What tells one neural family from another.

    Attributes:
        family: its name.
        recipe: its preset.
        build: the module's class; takes ``<vector>_dim`` of each vector, ``numeric_dim`` and ``cat_cardinalities``.
        vectors: the vectors it sees, in the order of the module's ``forward``.
        sees_text_present: whether ``text_present`` follows them.
        output: the module's last layer, or the Sequential that ends in it.
    """

    family: Family
    recipe: NeuralPreset
    build: Callable[..., nn.Module]
    vectors: tuple[VectorName, ...]
    sees_text_present: bool
    output: Callable[[Any], nn.Module]


@dataclass(frozen=True)
class FittedNetwork:
    """A fitted network on the CPU and what it takes to use it elsewhere: the content of its file.

    Attributes:
        model: the network in evaluation mode.
        config: keyword arguments that build it: the ``model_config`` of the file.
        preprocess: what its metadata went through.
    """

    model: nn.Module
    config: dict[str, Any]
    preprocess: Preprocess

    def save(self, path: Path) -> Path:
        """Write {model_state_dict, model_config, preprocess}: tensors and plain Python only."""
        content = {
            "model_state_dict": self.model.state_dict(),
            "model_config": self.config,
            "preprocess": self.preprocess.to_dict(),
        }
        return save_plain(path, content)

    @classmethod
    def load(cls, path: Path, design: Design) -> Self:
        """Read what `save` wrote."""
        content = load_plain(path)
        model = design.build(**content["model_config"])
        model.load_state_dict(content["model_state_dict"])
        model.eval()
        return cls(model, content["model_config"], Preprocess.from_dict(content["preprocess"]))


def fit_neural(
    design: Design,
    train: ModelInputs,
    train_target: F32,
    val: ModelInputs,
    val_target: F32,
    options: FitOptions,
) -> tuple[FittedNetwork, FitReport]:
    """Learn from the train part; see `clipfarm_tasks.models.family.ModelFamily.fit` for the arguments.

    Raises:
        ConfigError: the device asked for does not exist.
        DataError: a vector or a metadata column is missing, or the target is not that of the rows.
        TransientError: the device is out of memory.
    """
    check_target(train, train_target, "train")
    check_target(val, val_target, "validation")
    check_columns(train, (*options.numeric_cols, *options.categorical_cols), design.family)
    preprocess = Preprocess.fit(train.metadata, options)
    config = {
        **{f"{name}_dim": required_vectors(train, name, design.family).shape[1] for name in design.vectors},
        "numeric_dim": len(preprocess.numeric_cols),
        "cat_cardinalities": preprocess.cardinalities,
    }
    model, trained = fit_network(
        partial(design.build, **config),
        design.output,
        Labelled(_arrays(design, config, preprocess, train), train_target),
        Labelled(_arrays(design, config, preprocess, val), val_target),
        design.recipe,
        options,
    )
    return FittedNetwork(model, config, preprocess), _report(design, trained, preprocess, options)


def predict_neural(design: Design, network: FittedNetwork, rows: ModelInputs) -> F32:
    """(N,) float32 predictions of ``target_log``.

    Raises:
        DataError: a vector is missing or of another width than in the fit, or a metadata column is missing.
    """
    return predict(network.model, _arrays(design, network.config, network.preprocess, rows))


def _arrays(design: Design, config: dict[str, Any], preprocess: Preprocess, rows: ModelInputs) -> Arrays:
    check_columns(rows, (*preprocess.numeric_cols, *preprocess.categorical_cols), design.family)
    vectors = [required_vectors(rows, name, design.family, config[f"{name}_dim"]) for name in design.vectors]
    text_present = [rows.text_present] if design.sees_text_present else []
    return (*vectors, *text_present, preprocess.numerics(rows.metadata), preprocess.categories(rows.metadata))


def _report(design: Design, trained: Trained, preprocess: Preprocess, options: FitOptions) -> FitReport:
    found = {
        "batch_size": trained.batch_size,
        "max_epochs": options.max_epochs,
        "patience": options.patience,
        "best_epoch": trained.best_epoch,
        "log_cols": preprocess.log_cols,
    }
    hyperparams = {**asdict(design.recipe), "hidden": list(design.recipe.hidden), **found}
    return FitReport({design.family.value: trained.curve}, hyperparams, resolve_device(options.device).type)
