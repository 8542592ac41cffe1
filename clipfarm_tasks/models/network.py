"""From arrays to a trained network and to plain files: what the neural families and the gbdt projector share."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from clipfarm_tasks.families import NeuralPreset
from clipfarm_tasks.models.device import resolve_device
from clipfarm_tasks.models.family import FitOptions
from clipfarm_tasks.models.layers import start_at
from clipfarm_tasks.models.rows import Labelled, rows_on
from clipfarm_tasks.models.seeds import seed_torch
from clipfarm_tasks.models.training_loop import Trained, train


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
    train_part, val_part = rows_on(device, (train_rows, val_rows))
    trained = train(
        model.to(device),
        train_part,
        val_part,
        recipe,
        options.max_epochs,
        options.patience,
        options.seed,
    )
    model.to("cpu")
    return trained


def save_plain(path: Path, content: dict[str, Any]) -> Path:
    """Write a dict of tensors and plain Python values, creating the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def load_plain(path: Path) -> dict[str, Any]:
    """Read what `save_plain` wrote, tensors on the CPU; unpickles nothing but plain data."""
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content
