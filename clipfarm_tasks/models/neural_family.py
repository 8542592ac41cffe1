"""The family behind concat_mlp and gated_fusion_mlp: a network over vectors and metadata, of one design or another."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from torch import nn

from clipfarm_tasks.families import Family, NeuralPreset
from clipfarm_tasks.models.device import resolve_device
from clipfarm_tasks.models.family import FitOptions, FitReport
from clipfarm_tasks.models.inputs import F32, ModelInputs
from clipfarm_tasks.models.network import fit_network, load_plain, recipe_for, save_plain
from clipfarm_tasks.models.preprocess import Preprocess
from clipfarm_tasks.models.required import VectorName, check_columns, check_target, fitted, required_vectors
from clipfarm_tasks.models.rows import Arrays, Labelled
from clipfarm_tasks.models.training_loop import Trained, run_in_blocks


@dataclass(frozen=True)
class Design:
    """What tells one neural family from another.

    Attributes:
        family: its name.
        recipe: how it is trained.
        build: the module's class; takes ``<vector>_dim`` of each vector, ``numeric_dim``, ``cat_cardinalities`` and
            ``recipe``.
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

    @property
    def file(self) -> str:
        """Name of the model's file."""
        return f"{self.family}.pt"


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
        model = design.build(**content["model_config"], recipe=design.recipe)
        model.load_state_dict(content["model_state_dict"])
        model.eval()
        return cls(model, content["model_config"], Preprocess.from_dict(content["preprocess"]))


class NeuralFamily:
    """The family of a design; see `clipfarm_tasks.models.family.ModelFamily` for the contract."""

    def __init__(self, design: Design) -> None:
        """Unfitted."""
        self._design = design
        self._network: FittedNetwork | None = None
        self._chosen: Trained | None = None

    def fit(
        self, train: ModelInputs, train_target: F32, val: ModelInputs, val_target: F32, options: FitOptions
    ) -> FitReport:
        """Learn from the train part; the validation part selects the epoch.

        Raises:
            ConfigError: the device asked for does not exist.
            DataError: a vector or a metadata column is missing, or the target is not that of the rows.
            TransientError: the device is out of memory.
        """
        design = self._design
        check_target(train, train_target, "train")
        check_target(val, val_target, "validation")
        check_columns(train, (*options.numeric_cols, *options.categorical_cols), design.family)
        recipe = recipe_for(len(train), design.recipe)
        network, self._chosen = _fit(design, recipe, train, train_target, (val, val_target), options)
        self._network = network
        return _report(design, self._chosen, network.preprocess, options)

    def refit(self, rows: ModelInputs, target: F32, options: FitOptions) -> dict[str, Any]:
        """Train anew for as many epochs as `fit` chose.

        Raises:
            RuntimeError: the instance was not fitted here.
            TransientError: the device is out of memory.
        """
        chosen = fitted(self._chosen, self._design.family)
        recipe = replace(self._design.recipe, batch_size=chosen.batch_size)
        epochs = replace(options, max_epochs=chosen.best_epoch)
        self._network, _ = _fit(self._design, recipe, rows, target, None, epochs)
        return {"log_cols": self._network.preprocess.log_cols}

    def predict(self, rows: ModelInputs) -> F32:
        """(N,) float32 predictions of ``target_log``.

        Raises:
            DataError: a vector is missing or of another width than in the fit, or a metadata column is missing.
        """
        network = fitted(self._network, self._design.family)
        return run_in_blocks(network.model, _arrays(self._design, network.config, network.preprocess, rows))

    def save(self, folder: Path) -> list[Path]:
        """Write ``<family>.pt``."""
        return [fitted(self._network, self._design.family).save(folder / self._design.file)]

    def load(self, folder: Path) -> None:
        """Read ``<family>.pt``."""
        self._network = FittedNetwork.load(folder / self._design.file, self._design)


def _fit(
    design: Design,
    recipe: NeuralPreset,
    train: ModelInputs,
    target: F32,
    val: tuple[ModelInputs, F32] | None,
    options: FitOptions,
) -> tuple[FittedNetwork, Trained]:
    """One training; ``val`` selects the epoch, without it the last one counts."""
    preprocess = Preprocess.fit(train.metadata, options)
    config = {
        **{f"{name}_dim": required_vectors(train, name, design.family).shape[1] for name in design.vectors},
        "numeric_dim": len(preprocess.numeric_cols),
        "cat_cardinalities": preprocess.cardinalities,
    }

    def labelled(rows: ModelInputs, labels: F32) -> Labelled:
        return Labelled(_arrays(design, config, preprocess, rows), labels)

    model, trained = fit_network(
        partial(design.build, **config, recipe=design.recipe),
        design.output,
        labelled(train, target),
        val and labelled(*val),
        recipe,
        options,
    )
    return FittedNetwork(model, config, preprocess), trained


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
