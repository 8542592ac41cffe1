"""Where the rows of a torch fit live, and how they come in batches: the last step of a vector on its way to a network.

Host rows are gathered from the arrays as they are, memory-mapped ones included. Device rows are on the GPU from the
start.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipfarm_tasks.models.inputs import BLOCK_ROWS, F32

Arrays = tuple[NDArray[Any], ...]

# What the rows may take of the GPU memory that is free before the fit; the rest is for weights and activations.
DEVICE_SHARE = 0.7


class Batch(NamedTuple):
    """B rows on the device of the fit.

    Attributes:
        inputs: tensors of B rows, in the order of the module's ``forward``.
        target: (B,) float32, log space.
    """

    inputs: tuple[Tensor, ...]
    target: Tensor


@dataclass(frozen=True)
class Labelled:
    """N rows to fit or to judge by.

    Attributes:
        arrays: arrays of N rows, in the order of the module's ``forward``; may be memory-mapped or read-only.
        target: (N,) float32, log space; of the same rows.
        chosen: positions of the rows that count, which saves a copy of them; None: all.
    """

    arrays: Arrays
    target: F32
    chosen: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """How many rows count."""
        return len(self.target if self.chosen is None else self.chosen)

    def labels(self) -> F32:
        """Targets of the rows that count."""
        return self.target if self.chosen is None else self.target[self.chosen]


class Rows(Protocol):
    """N labelled rows that come in batches on one device."""

    def __len__(self) -> int:
        """N."""
        ...

    def shuffled(self, order: Tensor, size: int) -> Iterator[Batch]:
        """Batches of ``size`` rows, the last one smaller, in the order of the (N,) int64 row numbers (on the CPU)."""
        ...

    def in_order(self) -> Iterator[Batch]:
        """Blocks of `BLOCK_ROWS` rows, the last one smaller, from the first row to the last."""
        ...


class HostRows:
    """Rows that stay where they are; a batch is one gather, moved to ``device`` if that is not the CPU."""

    def __init__(self, rows: Labelled, device: torch.device) -> None:
        """Copy nothing."""
        self._arrays = (*rows.arrays, rows.target)
        self._rows = rows
        self._device = device

    def __len__(self) -> int:
        """N."""
        return len(self._rows)

    def shuffled(self, order: Tensor, size: int) -> Iterator[Batch]:
        """See `Rows`."""
        numbers = order.numpy() if self._rows.chosen is None else self._rows.chosen[order.numpy()]
        for start in range(0, len(numbers), size):
            picked = numbers[start : start + size]
            yield self._batch([torch.from_numpy(array[picked]) for array in self._arrays])

    def in_order(self) -> Iterator[Batch]:
        """See `Rows`."""
        if self._rows.chosen is not None:
            yield from self.shuffled(torch.arange(len(self)), BLOCK_ROWS)
            return
        for block in blocks(self._arrays):
            yield self._batch(block)

    def _batch(self, copies: list[Tensor]) -> Batch:
        *inputs, target = (_moved(copy, self._device) for copy in copies)
        return Batch(tuple(inputs), target)


class DeviceRows:
    """Rows copied to ``device`` once, through pinned blocks; a batch is one gather there."""

    def __init__(self, rows: Labelled, device: torch.device) -> None:
        """Copy block by block: no host memory of the size of the arrays."""
        tensors = tuple(_resident(array, device) for array in (*rows.arrays, rows.target))
        if rows.chosen is not None:
            chosen = torch.from_numpy(rows.chosen).to(device)
            tensors = tuple(tensor.index_select(0, chosen) for tensor in tensors)
        self._tensors = tensors

    def __len__(self) -> int:
        """N."""
        return len(self._tensors[-1])

    def shuffled(self, order: Tensor, size: int) -> Iterator[Batch]:
        """See `Rows`."""
        numbers = order.to(self._tensors[-1].device)
        for start in range(0, len(numbers), size):
            picked = numbers[start : start + size]
            *inputs, target = (tensor.index_select(0, picked) for tensor in self._tensors)
            yield Batch(tuple(inputs), target)

    def in_order(self) -> Iterator[Batch]:
        """See `Rows`."""
        for start in range(0, len(self), BLOCK_ROWS):
            *inputs, target = (tensor[start : start + BLOCK_ROWS] for tensor in self._tensors)
            yield Batch(tuple(inputs), target)


def rows_on(device: torch.device, parts: tuple[Labelled, ...]) -> tuple[Rows, ...]:
    """The parts of one fit: on the GPU when all of them fit into its free memory, else where they are."""
    if device.type == "cuda":
        size = sum(array.nbytes for part in parts for array in (*part.arrays, part.target))
        free, _ = torch.cuda.mem_get_info(device)
        if size <= DEVICE_SHARE * free:
            return tuple(DeviceRows(part, device) for part in parts)
    return tuple(HostRows(part, device) for part in parts)


def blocks(arrays: Arrays) -> Iterator[list[Tensor]]:
    """Consecutive blocks of `BLOCK_ROWS` rows of arrays of N rows, the last one smaller, on the CPU.

    Copies: an array may be read-only, which a tensor over its memory could not be.
    """
    for start in range(0, len(arrays[0]), BLOCK_ROWS):
        yield [torch.from_numpy(np.array(array[start : start + BLOCK_ROWS])) for array in arrays]


def _resident(array: NDArray[Any], device: torch.device) -> Tensor:
    dtype = torch.from_numpy(np.zeros(0, array.dtype)).dtype
    tensor = torch.empty(array.shape, dtype=dtype, device=device)
    start = 0
    for (block,) in blocks((array,)):
        tensor[start : start + len(block)] = _moved(block, device)
        start += len(block)
    return tensor


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type != "cuda":
        return tensor.to(device)
    # From pinned memory the copy overlaps with what the GPU computes; torch keeps the block until it has ended.
    return tensor.pin_memory().to(device, non_blocking=True)
