"""The one training loop of all torch parts: concat_mlp, gated_fusion_mlp and the gbdt projector."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import NeuralPreset
from clipfarm_tasks.models.family import Curve
from clipfarm_tasks.models.inputs import F32

PREDICT_ROWS = 8192


@dataclass(frozen=True)
class Part:
    """N rows on one device.

    Attributes:
        inputs: tensors of N rows each, in the order of the module's ``forward``.
        target: (N,) float32, log space.
    """

    inputs: tuple[Tensor, ...]
    target: Tensor


@dataclass(frozen=True)
class Trained:
    """How a training went: the curve, and the epoch (from 1) whose weights the module now holds."""

    curve: Curve
    best_epoch: int


def train(
    model: nn.Module, train_part: Part, val_part: Part, recipe: NeuralPreset, max_epochs: int, patience: int, seed: int
) -> Trained:
    """AdamW on the MSE of ``target_log``; stops early on validation RMSE and leaves the best weights in ``model``.

    Everything stays on the device; a batch is a gather by shuffled row numbers. The order comes from a CPU generator
    seeded with ``seed``, dropout from torch's global one (`clipfarm_tasks.models.seeds.seed_torch`).

    Args:
        model: maps ``Part.inputs`` of B rows to (B,) predictions; on the device of the parts.
        train_part: rows to learn from.
        val_part: rows that only judge; validation RMSE is over all of them at once.
        recipe: batch size, learning rate and weight decay.
        max_epochs: most epochs.
        patience: epochs without a better validation RMSE before stopping.
        seed: seed of the row order.

    Raises:
        DataError: the validation loss is not finite.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    order = torch.Generator().manual_seed(seed)
    curve = Curve(train_loss=[], val_loss=[], val_rmse_log=[])
    best_loss, best_epoch, best_weights = math.inf, 0, _copy(model)
    for epoch in range(1, max_epochs + 1):
        curve.train_loss.append(_one_epoch(model, train_part, recipe.batch_size, optimizer, order))
        val_loss = _mean_squared_error(model, val_part)
        curve.val_loss.append(val_loss)
        curve.val_rmse_log.append(math.sqrt(val_loss))
        if not math.isfinite(val_loss):
            raise DataError(f"expected a finite validation loss, got {val_loss}, in epoch {epoch}")
        if val_loss < best_loss:
            best_loss, best_epoch, best_weights = val_loss, epoch, _copy(model)
        elif epoch - best_epoch >= patience:
            break
    model.load_state_dict(best_weights)
    model.eval()
    return Trained(curve, best_epoch)


def predict(model: nn.Module, inputs: tuple[Tensor, ...]) -> F32:
    """(N,) float32 predictions of ``model`` in evaluation mode, computed in blocks to bound memory."""
    model.eval()
    rows = len(inputs[0])
    with torch.inference_mode():
        blocks = [
            model(*(tensor[start : start + PREDICT_ROWS] for tensor in inputs)).cpu().numpy()
            for start in range(0, rows, PREDICT_ROWS)
        ]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _one_epoch(
    model: nn.Module, part: Part, batch_size: int, optimizer: torch.optim.Optimizer, order: torch.Generator
) -> float:
    model.train()
    rows = torch.randperm(len(part.target), generator=order).to(part.target.device)
    # Summed on the device: reading a loss back after every batch would make the GPU wait for Python.
    total = torch.zeros((), dtype=torch.float64, device=part.target.device)
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        optimizer.zero_grad(set_to_none=True)
        loss = functional.mse_loss(model(*(tensor[batch] for tensor in part.inputs)), part.target[batch])
        torch.autograd.backward(loss)
        optimizer.step()
        total += loss.detach() * len(batch)
    return float(total) / len(rows)


def _mean_squared_error(model: nn.Module, part: Part) -> float:
    residual = predict(model, part.inputs).astype(np.float64) - part.target.cpu().numpy()
    return float(np.mean(residual**2))


def _copy(model: nn.Module) -> dict[str, Tensor]:
    # A clone, not a reference: state_dict shares storage with the parameters, which the optimizer updates in place.
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
