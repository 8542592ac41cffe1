"""The baseline of training: a torch DataLoader over a Dataset that hands out one row at a time."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from clipfarm_tasks.families import NeuralPreset
from clipfarm_tasks.models.rows import Labelled


class RowDataset(Dataset[tuple[Tensor, ...]]):
    """N rows; item i is a tensor out of each array, and the target last."""

    def __init__(self, rows: Labelled) -> None:
        """Keep the arrays; nothing is copied."""
        self._columns = (*rows.arrays, rows.target)

    def __len__(self) -> int:
        return len(self._columns[-1])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(torch.as_tensor(np.asarray(column[index])) for column in self._columns)


def train_per_row(
    model: nn.Module, train: Labelled, val: Labelled, recipe: NeuralPreset, epochs: int, *, fused: bool = False
) -> float:
    """Train for that many epochs, each followed by a pass over the validation part; returns the last validation loss.

    The model, the loss, the batches' size, and AdamW's learning rate and weight decay are those of the pipeline's
    training loop, which also averages the weights of its steps. AdamW itself is torch's default one, as a first script
    has it; with ``fused`` it is the pipeline's, which computes the same in one pass over the weights.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=fused or None
    )
    loader = DataLoader(RowDataset(train), batch_size=recipe.batch_size, shuffle=True, num_workers=0)
    val_loader = DataLoader(RowDataset(val), batch_size=recipe.batch_size, num_workers=0)
    val_loss = 0.0
    for _ in range(epochs):
        model.train()
        for *inputs, target in loader:
            optimizer.zero_grad()
            loss = functional.mse_loss(model(*inputs), target)
            torch.autograd.backward(loss)
            optimizer.step()
        model.eval()
        total = 0.0
        with torch.no_grad():
            for *inputs, target in val_loader:
                total += functional.mse_loss(model(*inputs), target, reduction="sum").item()
        val_loss = total / len(val.target)
    return val_loss
