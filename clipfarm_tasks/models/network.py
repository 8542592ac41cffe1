"""From arrays to a trained network and to plain files: what the neural families and the gbdt projector share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clipfarm_tasks.families import NeuralPreset
from clipfarm_tasks.models.device import resolve_device
from clipfarm_tasks.models.family import FitOptions
from clipfarm_tasks.models.inputs import F32
from clipfarm_tasks.models.layers import start_at
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


def apply_network(model: nn.Module, arrays: Arrays) -> F32:
    """Outputs of a fitted ``model`` for N rows, float32 with N rows."""
    return predict(model, _tensors(arrays, torch.device("cpu")))


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
