"""From arrays to a trained network and its file: what concat_mlp, gated_fusion_mlp and the gbdt projector share."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clipfarm_tasks.families import Family, NeuralPreset
from clipfarm_tasks.models.device import resolve_device
from clipfarm_tasks.models.family import FitOptions, FitReport
from clipfarm_tasks.models.inputs import F32
from clipfarm_tasks.models.layers import start_at
from clipfarm_tasks.models.preprocess import Preprocess
from clipfarm_tasks.models.seeds import seed_torch
from clipfarm_tasks.models.training_loop import Part, Trained, predict, train

Arrays = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class Labelled:
    """N rows to fit or to judge by.

    Attributes:
        arrays: arrays of N rows, in the order of the module's ``forward``.
        target: (N,) float32, log space; of the same rows.
    """

    arrays: Arrays
    target: F32


def begin_fit(options: FitOptions) -> None:
    """Seed everything and limit torch's CPU threads; comes before a module is built, whose weights start at random."""
    seed_torch(options.seed)
    torch.set_num_threads(options.threads)


def fit_network(
    model: nn.Module,
    output: nn.Module,
    train_rows: Labelled,
    val_rows: Labelled,
    recipe: NeuralPreset,
    options: FitOptions,
) -> Trained:
    """Train a freshly built ``model`` on the device of ``options``, then bring it back to the CPU.

    A fitted model always predicts on the CPU: the predictions of a fit and those of its file, loaded anywhere, are then
    the same numbers.

    Args:
        model: maps the arrays of B rows to (B,) predictions.
        output: its last layer, or the Sequential that ends in it.
        train_rows: rows to learn from.
        val_rows: rows that only select the epoch.
        recipe: the family's preset.
        options: device, seed, epochs and patience.

    Raises:
        ConfigError: the device asked for does not exist.
        DataError: the validation loss is not finite.
    """
    device = resolve_device(options.device)
    start_at(output, float(np.mean(train_rows.target, dtype=np.float64)))
    trained = train(
        model.to(device),
        Part(_tensors(train_rows.arrays, device), torch.tensor(train_rows.target, dtype=torch.float32, device=device)),
        Part(_tensors(val_rows.arrays, device), torch.tensor(val_rows.target, dtype=torch.float32, device=device)),
        recipe,
        options.max_epochs,
        options.patience,
        options.seed,
    )
    model.to("cpu")
    return trained


def report(
    family: Family, recipe: NeuralPreset, trained: Trained, preprocess: Preprocess, options: FitOptions
) -> FitReport:
    """What the fit of a neural family says about itself."""
    found = {
        "max_epochs": options.max_epochs,
        "patience": options.patience,
        "best_epoch": trained.best_epoch,
        "log_cols": preprocess.log_cols,
    }
    hyperparams = {**asdict(recipe), "hidden": list(recipe.hidden), **found}
    return FitReport({family.value: trained.curve}, hyperparams, resolve_device(options.device).type)


def apply_network(model: nn.Module, arrays: Arrays) -> F32:
    """Outputs of a fitted ``model`` for N rows, float32 with N rows."""
    return predict(model, _tensors(arrays, torch.device("cpu")))


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
    def load(cls, path: Path, build: Callable[..., nn.Module]) -> Self:
        """Read what `save` wrote; ``build`` is the module's class."""
        content = load_plain(path)
        model = build(**content["model_config"])
        model.load_state_dict(content["model_state_dict"])
        model.eval()
        return cls(model, content["model_config"], Preprocess.from_dict(content["preprocess"]))


def save_plain(path: Path, content: dict[str, Any]) -> Path:
    """Write a dict of tensors and plain Python values, creating the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def load_plain(path: Path) -> dict[str, Any]:
    """Read what `save_plain` wrote, tensors on the CPU; unpickles nothing but plain data."""
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def _tensors(arrays: Arrays, device: torch.device) -> tuple[Tensor, ...]:
    # A copy, because the arrays may be read-only (memory-mapped or shared), which torch tensors cannot be.
    return tuple(torch.tensor(array, device=device) for array in arrays)
