"""From arrays to a trained network and to plain files: what the neural families and the gbdt projector share."""

import io
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from clipfarm_tasks.errors import TransientError
from clipfarm_tasks.families import NeuralPreset
from clipfarm_tasks.models.device import resolve_device
from clipfarm_tasks.models.family import FitOptions
from clipfarm_tasks.models.layers import start_at
from clipfarm_tasks.models.rows import HostRows, Labelled, Rows, rows_on
from clipfarm_tasks.models.seeds import seed_torch
from clipfarm_tasks.models.training_loop import Trained, run_epochs

log = logging.getLogger(__name__)
_Net = TypeVar("_Net", bound=nn.Module)
_Parts = tuple[Labelled, ...]
_STEPS = 32  # of an epoch, at least where there are rows enough


def fit_network(
    build: Callable[[], _Net],
    output: Callable[[_Net], nn.Module],
    train_rows: Labelled,
    val_rows: Labelled | None,
    recipe: NeuralPreset,
    options: FitOptions,
) -> tuple[_Net, Trained]:
    """Build a network and train it on the device of ``options``; it comes back on the CPU.

    A fitted model always predicts on the CPU: the predictions of a fit and those of its file, loaded anywhere, are then
    the same numbers.

    A device out of memory costs one more attempt, from the seed on, with half the batch and the rows on the host: they,
    not the batch, are most of what a fit keeps on a GPU. Its result is that of a recipe with half the batch.

    Args:
        build: makes the module, which maps the arrays of B rows to (B,) predictions, with weights from torch's
            generator.
        output: of a module its last layer, or the Sequential that ends in it.
        train_rows: rows to learn from.
        val_rows: rows that only select the epoch; None: the last one counts.
        recipe: the family's preset.
        options: device, seed, threads, epochs and patience.

    Raises:
        ConfigError: the device asked for does not exist.
        DataError: the validation loss is not finite.
        TransientError: the device was out of memory both times.
    """
    device = resolve_device(options.device)
    parts = (train_rows,) if val_rows is None else (train_rows, val_rows)
    try:
        return _attempt(build, output, device, rows_on, parts, recipe, options)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        said = str(error)
    # Not in the except clause: while an error is handled, its traceback keeps every tensor of the attempt alive.
    torch.cuda.empty_cache()
    halved = replace(recipe, batch_size=max(1, recipe.batch_size // 2))
    log.warning(
        "%s is out of memory with batches of %d rows; starting over with %d and all rows on the host: %s",
        device,
        recipe.batch_size,
        halved.batch_size,
        said,
    )
    try:
        return _attempt(build, output, device, _rows_on_host, parts, halved, options)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        said = str(error)
    torch.cuda.empty_cache()
    raise TransientError(
        f"expected the job to fit into the memory of {device}, got out of memory with batches of {recipe.batch_size} "
        f"and of {halved.batch_size} rows: end what else uses the device, take one with more memory, or use "
        f"device=cpu; torch says: {said}"
    )


def recipe_for(rows: int, recipe: NeuralPreset) -> NeuralPreset:
    """The recipe with the rows per step that so many rows are trained with; see `NeuralPreset`.

    On eight splits of 2,800 real posts (1,959 to train) batches of 64 instead of 256 took 1.1 % off the RMSE of
    gated_fusion_mlp; on three, 64 and 128 were alike for concat_mlp, and 1 % better than 256.
    """
    return replace(recipe, batch_size=min(recipe.batch_size, max(recipe.least_batch_size, rows // _STEPS)))


def _attempt(
    build: Callable[[], _Net],
    output: Callable[[_Net], nn.Module],
    device: torch.device,
    place: Callable[[torch.device, _Parts], tuple[Rows, ...]],
    parts: _Parts,
    recipe: NeuralPreset,
    options: FitOptions,
) -> tuple[_Net, Trained]:
    """One fit from the seed on; nothing that it puts on the device outlives it, should it fail."""
    seed_torch(options.seed)
    torch.set_num_threads(options.threads)
    model = build()
    start_at(output(model), float(np.mean(parts[0].labels(), dtype=np.float64)))
    train_part, *val_part = place(device, parts)
    trained = run_epochs(
        model.to(device),
        train_part,
        val_part[0] if val_part else None,
        recipe,
        options.max_epochs,
        options.patience,
        options.seed,
        options.on_epoch,
    )
    return model.to("cpu"), trained


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Only torch's own allocator has a type for it; CUDA and its libraries, which allocate too, say it in words."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in said or "ALLOC_FAILED" in said


def _rows_on_host(device: torch.device, parts: _Parts) -> tuple[Rows, ...]:
    return tuple(HostRows(part, device) for part in parts)


def save_plain(path: Path, content: dict[str, Any]) -> Path:
    """Write a dict of tensors and plain Python values, creating the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()  # into a file, torch tells of a full disk as RuntimeError("unexpected pos")
    torch.save(content, buffer)
    path.write_bytes(buffer.getbuffer())
    return path


def load_plain(path: Path) -> dict[str, Any]:
    """Read what `save_plain` wrote, tensors on the CPU; unpickles nothing but plain data."""
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content
