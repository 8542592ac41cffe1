"""What a model family sees of N videos.

Legend used by every array in this package: N videos, D fused width, V/A/T modality widths, F numeric features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clipfarm_tasks.data.cells import LARGEST_NUMBER

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# Rows worked on at a time where a result for all of them at once would be as large as the vectors.
BLOCK_ROWS = 1024


@dataclass(frozen=True)
class ModelInputs:
    """Features of N videos in one order; labels travel separately.

    The arrays may be memory-mapped, read-only or not: a family reads them in blocks of rows and never writes to them.

    Attributes:
        metadata: N rows; the numeric columns float64 with NaN for missing, the categorical ones ``object`` with None.
        text_present: (N,) float32, 1.0 where a text vector exists.
        fused: (N, D) float32, or None when the family does not see it.
        video: (N, V) float32, or None.
        audio: (N, A) float32, or None.
        text: (N, T) float32, zeros where ``text_present`` is 0, or None.
        provenance: N rows, or None: ``creator`` (text), ``published_at`` and ``captured_at`` (datetime64[us], NaT where
            unreadable): whose video it is, and when it was published and its label became known.
    """

    metadata: pd.DataFrame
    text_present: F32
    fused: F32 | None = None
    video: F32 | None = None
    audio: F32 | None = None
    text: F32 | None = None
    provenance: pd.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.text_present)

    def slice(self, start: int, stop: int) -> "ModelInputs":
        """Rows ``start`` to ``stop - 1``, numbered from 0; the arrays are views, so a memory map stays one."""
        arrays = {
            name: None if value is None else value[start:stop]
            for name in ("fused", "video", "audio", "text")
            for value in [getattr(self, name)]
        }
        return replace(
            self,
            metadata=self.metadata.iloc[start:stop].reset_index(drop=True),
            text_present=self.text_present[start:stop],
            provenance=None if self.provenance is None else self.provenance.iloc[start:stop].reset_index(drop=True),
            **arrays,
        )


Allocate = Callable[[str, tuple[int, int]], F32]


def taken(inputs: ModelInputs, chosen: I64, allocate: Allocate) -> ModelInputs:
    """The chosen rows, copied in blocks: ``allocate`` gives the (n, D) array of each vector, by its name."""

    def copied(name: str, array: F32 | None) -> F32 | None:
        if array is None:
            return None
        copy = allocate(name, (len(chosen), array.shape[1]))
        for start in range(0, len(chosen), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            copy[block] = array[chosen[block]]
        return copy

    return ModelInputs(
        metadata=inputs.metadata.iloc[chosen].reset_index(drop=True),
        text_present=inputs.text_present[chosen],
        fused=copied("fused", inputs.fused),
        video=copied("video", inputs.video),
        audio=copied("audio", inputs.audio),
        text=copied("text", inputs.text),
        provenance=None if inputs.provenance is None else inputs.provenance.iloc[chosen].reset_index(drop=True),
    )


def ranges_of(values: F64) -> list[list[float]]:
    """F pairs of the smallest and the largest number in each column of (N, F) float64; 0 and 0 where all are NaN."""
    known = [column[~np.isnan(column)] for column in values.T]
    return [[float(column.min()), float(column.max())] if column.size else [0.0, 0.0] for column in known]


def known_numbers(metadata: pd.DataFrame, columns: Sequence[str]) -> F64:
    """(N, F) float64 of these columns: NaN where a cell is missing, infinite or beyond `LARGEST_NUMBER`."""
    values = metadata[list(columns)].to_numpy(np.float64)
    return np.where(np.abs(values) <= LARGEST_NUMBER, values, np.nan)
