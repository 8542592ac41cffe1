"""Refuse inputs a family cannot work with, in one clear sentence, before any arithmetic."""

from collections.abc import Iterable
from typing import Literal, TypeVar

import numpy as np

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import VECTOR_COLUMN, Family
from clipfarm_tasks.models.inputs import F32, ModelInputs

T = TypeVar("T")
VectorName = Literal["fused", "video", "audio", "text"]
MATRIX_AXES = 2


def required_vectors(rows: ModelInputs, name: VectorName, family: Family, width: int | None = None) -> F32:
    """The (N, width) float32 vectors called ``name``; any width when ``width`` is None.

    Raises:
        DataError: the input is None, or is not (N, width).
    """
    vectors: F32 | None = getattr(rows, name)
    if vectors is None:
        raise DataError(f"expected the input {name!r}, got None, in family {family}")
    if vectors.ndim != MATRIX_AXES or len(vectors) != len(rows) or (width or vectors.shape[1]) != vectors.shape[1]:
        expected = f"({len(rows)}, {width or 'any width'})"
        raise DataError(f"expected {name!r} of shape {expected}, got {vectors.shape}, in family {family}")
    return np.asarray(vectors, np.float32)


def check_columns(rows: ModelInputs, columns: Iterable[str], family: Family) -> None:
    """Refuse metadata that lacks a column the family was told to use, or was fitted on, or that calls one a vector's.

    Raises:
        DataError: names every such column.
    """
    names = list(columns)
    missing = [name for name in names if name not in rows.metadata.columns]
    if missing:
        raise DataError(f"expected the metadata columns {missing}, got a frame without them, in family {family}")
    taken = [name for name in names if VECTOR_COLUMN.fullmatch(name)]
    if taken:
        raise DataError(f"expected no metadata column named like a vector column, got {taken}, in family {family}")


def check_target(rows: ModelInputs, target: F32, part: str) -> None:
    """Refuse labels that are not the labels of ``rows``.

    Raises:
        DataError: there are no rows, not one label per row, or a label is not finite.
    """
    if len(rows) == 0:
        raise DataError(f"expected at least 1 row, got 0, in the {part} part")
    if target.shape != (len(rows),):
        raise DataError(f"expected a target of shape ({len(rows)},), got {target.shape}, in the {part} part")
    if not np.isfinite(target).all():
        bad = int((~np.isfinite(target)).sum())
        raise DataError(f"expected finite targets, got {bad} that are not, in the {part} part")


def fitted(state: T | None, family: Family) -> T:
    """The state that `fit` or `load` left.

    Raises:
        RuntimeError: neither was called.
    """
    if state is None:
        raise RuntimeError(f"expected fit() or load() first, got an unfitted model, in family {family}")
    return state
