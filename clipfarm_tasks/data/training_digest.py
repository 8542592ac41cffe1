"""Digests of what a fit sees, so that training data rebuilt later can be told equal to the recorded ones, or not."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from clipfarm_tasks.config import Frozen

_ROWS, _METADATA, _TEXT_PRESENT = "rows", "metadata", "text_present"


class DataSha256(Frozen):
    """The two digests that a training job records."""

    features: str = Field(description="sha256 (hex) of the videos with their parts, their metadata and their vectors")
    target: str = Field(description="sha256 (hex) of target_log as float32")

    @property
    def joint(self) -> str:
        """One digest of both (hex): equal ones and equal options give equal fits."""
        return hashlib.sha256(f"{self.features}{self.target}".encode()).hexdigest()


@dataclass(frozen=True)
class DataDigests:
    """Digests of a pair's data, part by part: a family's own follow from them without reading anything again.

    Attributes:
        components: sha256 (hex) of the rows, the metadata, text_present, and of each vector array by its name.
        target: sha256 (hex) of the target.
    """

    components: Mapping[str, str]
    target: str

    def of(self, vectors: Collection[str]) -> DataSha256:
        """Digests for a family that sees these vector arrays."""
        seen = {name: self.components[name] for name in (_ROWS, _METADATA, _TEXT_PRESENT, *vectors)}
        return DataSha256(features=_of_text(json.dumps(seen, sort_keys=True)), target=self.target)


def data_digests(
    rows: pd.DataFrame,
    metadata: pd.DataFrame,
    text_present: NDArray[np.float32],
    vectors: Mapping[str, NDArray[np.float32]],
    target: NDArray[np.float32],
) -> DataDigests:
    """Digest N rows in training order, without copying an array.

    Args:
        rows: N rows of the split manifest: video_id and split (train, val or test) at least.
        metadata: the same N rows: the feature columns, numbers or text.
        text_present: (N,) float32.
        vectors: (N, D) float32 by name, C-contiguous; D differs between them.
        target: (N,) float32.
    """
    components = {
        _ROWS: _of_frame(rows[["video_id", "split"]]),
        _METADATA: _of_frame(metadata),
        _TEXT_PRESENT: _of_array(text_present),
        **{name: _of_array(array) for name, array in vectors.items()},
    }
    return DataDigests(components, _of_array(target))


def _of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _of_array(array: NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.data.cast("B"))
    return digest.hexdigest()


def _of_frame(frame: pd.DataFrame) -> str:
    """Of names, order and values; what marks a missing cell (None, NaN) makes no difference."""
    return _of_text(json.dumps([(name, _of_column(frame[name])) for name in frame.columns]))


def _of_column(column: pd.Series) -> str:
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
        values[np.isnan(values)] = np.nan  # one bit pattern of the many
        return _of_array(values)
    return _of_text(json.dumps(column.astype(object).where(column.notna(), None).tolist()))
