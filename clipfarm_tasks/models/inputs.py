"""What a model family sees of N videos.

Legend used by every array in this package: N videos, D fused width, V/A/T modality widths, F numeric features.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class ModelInputs:
    """Features of N videos in one canonical row order; labels travel separately.

    Attributes:
        metadata: N rows; the numeric columns float64 with NaN for missing, the categorical ones ``object`` with None.
        text_present: (N,) float32, 1.0 where a text vector exists.
        fused: (N, D) float32, or None when the family does not see it.
        video: (N, V) float32, or None.
        audio: (N, A) float32, or None.
        text: (N, T) float32, zeros where ``text_present`` is 0, or None.
    """

    metadata: pd.DataFrame
    text_present: F32
    fused: F32 | None = None
    video: F32 | None = None
    audio: F32 | None = None
    text: F32 | None = None

    def __len__(self) -> int:
        return len(self.text_present)

    def take(self, rows: I64) -> "ModelInputs":
        """The given rows, in the given order: ``rows`` is (M,) int64 positions."""
        arrays = {
            name: None if value is None else value[rows]
            for name in ("fused", "video", "audio", "text")
            for value in [getattr(self, name)]
        }
        return replace(
            self,
            metadata=self.metadata.iloc[rows].reset_index(drop=True),
            text_present=self.text_present[rows],
            **arrays,
        )
