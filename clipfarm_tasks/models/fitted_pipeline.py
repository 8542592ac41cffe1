"""A fitted scikit-learn pipeline and its files: what ridge, gbdt and kernel share."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, Self

import joblib
import numpy as np
from sklearn.pipeline import Pipeline
from threadpoolctl import ThreadpoolController

from clipfarm_tasks.families import Family
from clipfarm_tasks.models import skops_file
from clipfarm_tasks.models.column_transformer import columns_read, metadata_frame, with_vectors
from clipfarm_tasks.models.inputs import BLOCK_ROWS, F32, ModelInputs
from clipfarm_tasks.models.required import check_columns


class VectorRows(Protocol):
    """(N, D) float32 vectors that are read by rows: an array, or what puts them together where they are read."""

    def __getitem__(self, rows: slice, /) -> F32: ...


@dataclass(frozen=True)
class FittedPipeline:
    """Steps ``pre`` to ``model``, fitted; which columns it reads is known from ``pre`` alone.

    Attributes:
        pipeline: the published object.
        numeric_cols: numeric metadata columns.
        categorical_cols: categorical metadata columns.
        vector_cols: vector columns.
    """

    pipeline: Pipeline
    numeric_cols: list[str]
    categorical_cols: list[str]
    vector_cols: list[str]

    @classmethod
    def of(cls, pipeline: Pipeline) -> Self:
        """Wrap a pipeline whose ``pre`` is one of `clipfarm_tasks.models.column_transformer`."""
        return cls(pipeline, *columns_read(pipeline.named_steps["pre"]))

    def predict(self, rows: ModelInputs, vectors: VectorRows, family: Family) -> F32:
        """(N,) float32 predictions for N rows and their (N, D) vectors, in blocks of rows to bound memory.

        One thread: the sums then have one order, and a loaded file predicts the same numbers on any machine size.

        Raises:
            DataError: a metadata column is missing.
        """
        check_columns(rows, (*self.numeric_cols, *self.categorical_cols), family)
        metadata = metadata_frame(rows.metadata, self.numeric_cols, self.categorical_cols)
        predicted = np.empty(len(rows), np.float32)
        with self._threads.limit(limits=1):
            for start in range(0, len(rows), BLOCK_ROWS):
                block = slice(start, start + BLOCK_ROWS)
                predicted[block] = self.pipeline.predict(
                    with_vectors(metadata[block], self.vector_cols, vectors[block])
                )
        return predicted

    def save(self, folder: Path, family: Family) -> list[Path]:
        """Write ``<family>.skops``, which `load` reads, and the same as ``<family>.joblib`` for downstream readers."""
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{family}.skops", folder / f"{family}.joblib"]
        skops_file.save(self.pipeline, files[0])
        joblib.dump(self.pipeline, files[1])
        return files

    @classmethod
    def load(cls, folder: Path, family: Family) -> Self:
        """Read ``<family>.skops``; a ``.joblib`` is a pickle, which runs whatever its writer wants, and stays closed.

        Raises:
            DataError: the file holds anything but what a pipeline of this project is made of.
        """
        return cls.of(skops_file.load(folder / f"{family}.skops"))

    @cached_property
    def _threads(self) -> ThreadpoolController:
        """Of all libraries in use. Looked for once: that takes longer than to predict a few rows."""
        return ThreadpoolController()
