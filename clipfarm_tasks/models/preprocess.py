"""Metadata columns to tensors-to-be: medians, log1p, scale and vocabularies, all learnt from the train part."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.data.cells import LARGEST_NUMBER
from clipfarm_tasks.models.family import FitOptions
from clipfarm_tasks.models.inputs import F32, I64, known_numbers, ranges_of
from clipfarm_tasks.models.log_counts import logged_columns


@dataclass(frozen=True)
class Preprocess:
    """What the torch families do to metadata; the fields are the ``preprocess`` dict of their artifacts.

    Attributes:
        numeric_cols: F numeric columns.
        categorical_cols: C categorical columns.
        num_median: F medians in raw units, in the order of ``numeric_cols``; they replace missing values.
        num_mean: F means after filling and log1p.
        num_std: F standard deviations after filling and log1p; 1 for a constant column.
        cat_mappings: by column, category to embedding index, from 1; 0 is for unseen and missing ones.
        log_cols: numeric columns taken as log1p (this and the following are our additions to the published fields).
        num_range: F pairs of the smallest and the largest value in the train part, in raw units, between which values
            are held; None: they are not.
    """

    numeric_cols: list[str]
    categorical_cols: list[str]
    num_median: list[float]
    num_mean: list[float]
    num_std: list[float]
    cat_mappings: dict[str, dict[str, int]]
    log_cols: list[str]
    num_range: list[list[float]] | None = None

    @classmethod
    def fit(cls, train: pd.DataFrame, options: FitOptions) -> Self:
        """Learn every statistic from the N rows of the train part. A column that is wholly missing becomes 0."""
        log_cols = logged_columns(train, options.numeric_cols, options.feature_set)
        raw = known_numbers(train, options.numeric_cols)  # (N, F)
        known = [column[~np.isnan(column)] for column in raw.T]
        median = np.array([np.median(values) if values.size else 0.0 for values in known], np.float64)
        filled = _filled_and_logged(raw, median, _mask(options.numeric_cols, log_cols))
        std = filled.std(axis=0)
        return cls(
            numeric_cols=list(options.numeric_cols),
            categorical_cols=list(options.categorical_cols),
            num_median=median.tolist(),
            num_mean=filled.mean(axis=0).tolist(),
            num_std=np.where(std > 0, std, 1.0).tolist(),
            cat_mappings={name: _vocabulary(train[name]) for name in options.categorical_cols},
            log_cols=list(log_cols),
            num_range=ranges_of(raw) if options.feature_set is FeatureSet.V3 else None,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`; what families add to it is left out."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})

    def to_dict(self) -> dict[str, Any]:
        """Plain Python lists and dicts only, so that ``torch.load(weights_only=True)`` accepts them."""
        return asdict(self)

    @property
    def cardinalities(self) -> list[int]:
        """Rows of each embedding table, index 0 included."""
        return [len(self.cat_mappings[name]) + 1 for name in self.categorical_cols]

    def numerics(self, frame: pd.DataFrame) -> F32:
        """(N, F) float32, standardised; what `known_numbers` calls missing becomes the median, negative counts 0.

        No result is beyond `LARGEST_NUMBER`: divided by a tiny scale, a number may leave float32, and a network makes
        NaN of an infinity.
        """
        raw = known_numbers(frame, self.numeric_cols)
        if self.num_range:
            raw = np.clip(raw, *np.transpose(self.num_range))
        filled = _filled_and_logged(raw, np.array(self.num_median), _mask(self.numeric_cols, self.log_cols))
        scaled = (filled - np.array(self.num_mean)) / np.array(self.num_std)
        held: F32 = np.clip(scaled, -LARGEST_NUMBER, LARGEST_NUMBER).astype(np.float32)
        return held

    def categories(self, frame: pd.DataFrame) -> I64:
        """(N, C) int64 embedding indices; 0 for an unseen or missing category."""
        indices = np.zeros((len(frame), len(self.categorical_cols)), np.int64)
        for position, name in enumerate(self.categorical_cols):
            mapping = self.cat_mappings[name]
            indices[:, position] = [mapping.get(value, 0) for value in frame[name].to_numpy(object)]
        return indices


def _mask(columns: list[str] | tuple[str, ...], chosen: list[str] | tuple[str, ...]) -> NDArray[np.bool_]:
    return np.isin(np.array(columns, dtype=object), list(chosen))


def _filled_and_logged(
    raw: NDArray[np.float64], median: NDArray[np.float64], logged: NDArray[np.bool_]
) -> NDArray[np.float64]:
    filled = np.where(np.isnan(raw), median, raw)  # (N, F)
    filled[:, logged] = np.log1p(np.maximum(filled[:, logged], 0.0))
    return filled


def _vocabulary(column: pd.Series) -> dict[str, int]:
    known = sorted(set(column.dropna()))
    return {value: index for index, value in enumerate(known, start=1)}
