"""A fitted scikit-learn pipeline and its file: what ridge and gbdt share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import joblib
import numpy as np
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from clipfarm_tasks.families import Family
from clipfarm_tasks.models.column_transformer import Prefix, metadata_frame, with_vectors
from clipfarm_tasks.models.inputs import BLOCK_ROWS, F32, ModelInputs
from clipfarm_tasks.models.required import check_columns


@dataclass(frozen=True)
class FittedPipeline:
    """Steps ``pre`` and ``model``, fitted; which columns it reads is known from ``pre`` alone.

    Attributes:
        pipeline: the published object.
        prefix: what its vector columns are called.
        numeric_cols: numeric metadata columns.
        categorical_cols: categorical metadata columns.
        width: number of vector columns.
    """

    pipeline: Pipeline
    prefix: Prefix
    numeric_cols: tuple[str, ...]
    categorical_cols: tuple[str, ...]
    width: int

    @classmethod
    def of(cls, pipeline: Pipeline, prefix: Prefix) -> Self:
        """Wrap a pipeline whose ``num`` reads the numeric columns, then ``<prefix>_0`` to ``<prefix>_<width - 1>``."""
        columns = {name: tuple(names) for name, _, names in pipeline.named_steps["pre"].transformers}
        numbers = columns["num"]
        width = int(numbers[-1].removeprefix(f"{prefix}_")) + 1
        return cls(pipeline, prefix, numbers[:-width], columns["cat"], width)

    def predict(self, rows: ModelInputs, vectors: F32, family: Family) -> F32:
        """(N,) float32 predictions for N rows and their (N, width) vectors, in blocks of rows to bound memory.

        One thread: the sums then have one order, and a loaded file predicts the same numbers on any machine size.

        Raises:
            DataError: a metadata column is missing.
        """
        check_columns(rows, (*self.numeric_cols, *self.categorical_cols), family)
        metadata = metadata_frame(rows.metadata, self.numeric_cols, self.categorical_cols)
        predicted = np.empty(len(rows), np.float32)
        with threadpool_limits(1):
            for start in range(0, len(rows), BLOCK_ROWS):
                block = slice(start, start + BLOCK_ROWS)
                predicted[block] = self.pipeline.predict(with_vectors(metadata[block], self.prefix, vectors[block]))
        return predicted

    def save(self, path: Path) -> Path:
        """Write the pipeline with joblib, creating the folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        joblib.dump(self.pipeline, path)
        return path

    @classmethod
    def load(cls, path: Path, prefix: Prefix) -> Self:
        """Read what `save` wrote. joblib unpickles: only for files this project wrote."""
        return cls.of(joblib.load(path), prefix)
