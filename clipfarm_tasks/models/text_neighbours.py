"""Features out of the text vectors: what became of the videos with the most similar texts."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from clipfarm_tasks.data.computed_features import LEARNT
from clipfarm_tasks.models.arrow_file import read_arrow, write_arrow
from clipfarm_tasks.models.inputs import F32, F64, I64

_COUNTS = (5, 20, 50)
_SIMILARITY_OF = 20
COLUMNS = LEARNT["text_neighbours"]
"""The mean target of the 5, 20 and 50 nearest texts, and the mean cosine similarity of the nearest 20.

A mean is missing where fewer than twice as many other texts are known: the mean of nearly all others of a row that was
learnt from tells the row's own label.
"""

# Rows that are searched: of more, a seeded choice. Each row is compared with all of them, so time and the size of the
# model's file grow with it: 10,000 texts of width 768 are 15 MB, and 50,000 rows then take about 20 s on one core.
MOST_ROWS = 10_000
_BLOCK = 256  # rows that are compared at a time: 10 MB of similarities


@dataclass(frozen=True)
class TextNeighbours:
    """An index of M texts and what became of them.

    Attributes:
        texts: (M, T) float16, each of length 1, or all zeros.
        target: (M,) float32 target_log.
    """

    texts: NDArray[np.float16]
    target: F32

    @classmethod
    def fit(cls, text: F32, text_present: F32, target: F32, seed: int) -> tuple[Self, F64]:
        """Index N rows to learn from, as many as have a text.

        Args:
            text: (N, T) float32; may be memory-mapped, and is read in blocks.
            text_present: (N,) float32, 1.0 where there is a text.
            target: (N,) float32 target_log.
            seed: of the choice among more than `MOST_ROWS`.

        Returns:
            The index, and the (N, 4) features of these rows, each from the other rows alone.
        """
        usable = np.flatnonzero(text_present)
        if len(usable) > MOST_ROWS:
            usable = np.sort(np.random.default_rng(seed).choice(usable, MOST_ROWS, replace=False))
        texts = np.empty((len(usable), text.shape[1]), np.float16)
        for start in range(0, len(usable), _BLOCK):
            texts[start : start + _BLOCK] = _unit(text[usable[start : start + _BLOCK]])
        own = np.full(len(target), -1)
        own[usable] = np.arange(len(usable))
        index = cls(texts, target[usable].astype(np.float32))
        return index, index._features(text, text_present, own)

    def __call__(self, text: F32, text_present: F32) -> F64:
        """(N, 4) float64 `COLUMNS` of N other rows; NaN where there is no text, or no text was indexed."""
        return self._features(text, text_present, np.full(len(text), -1))

    def save(self, path: Path) -> Path:
        """Write an Arrow file: a column of texts and one of targets."""
        flat = pa.array(self.texts.reshape(-1))
        texts = pa.FixedSizeListArray.from_arrays(flat, self.texts.shape[1])
        return write_arrow(path, pa.table({"text": texts, "target_log": pa.array(self.target)}), {})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        table, _ = read_arrow(path)
        texts = table["text"].combine_chunks()
        width = texts.type.list_size
        return cls(texts.values.to_numpy().reshape(-1, width), table["target_log"].to_numpy())

    def _features(self, text: F32, text_present: F32, own: I64) -> F64:
        """``own`` is the (N,) position of each row in the index, which it does not see; -1 if it is not there."""
        found = np.full((len(text), len(COLUMNS)), np.nan)
        searched = self.texts.astype(np.float32)
        asked = np.flatnonzero(text_present) if len(searched) else np.empty(0, np.int64)
        with self._threads.limit(limits=1):  # the sums then have one order
            for start in range(0, len(asked), _BLOCK):
                block = asked[start : start + _BLOCK]
                similarity = _unit(text[block]).astype(np.float16).astype(np.float32) @ searched.T
                inside = np.flatnonzero(own[block] >= 0)
                similarity[inside, own[block][inside]] = -np.inf
                found[block] = self._nearest(similarity)
        return found

    @cached_property
    def _threads(self) -> ThreadpoolController:
        """Of all libraries in use. Looked for once: that takes longer than to search for a few rows."""
        return ThreadpoolController()

    def _nearest(self, similarity: F32) -> F64:
        """(B, 4) from the (B, M) cosine similarities; what is not to be seen has -inf."""
        known = np.isfinite(similarity).sum(axis=1)
        most = min(max(_COUNTS), similarity.shape[1])
        nearest = np.argpartition(-similarity, most - 1, axis=1)[:, :most]
        values = np.take_along_axis(similarity, nearest, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        nearest, values = np.take_along_axis(nearest, order, axis=1), np.take_along_axis(values, order, axis=1)
        seen = np.isfinite(values)
        targets = np.where(seen, self.target[nearest], 0).astype(np.float64)
        similarities = np.where(seen, values, 0).astype(np.float64)

        def mean(values: F64, count: int, least: int) -> F64:
            of = seen[:, :count].sum(axis=1)
            total = values[:, :count].sum(axis=1)
            means: F64 = np.divide(total, of, out=np.full(len(total), np.nan), where=known >= least)
            return means

        of_targets = [mean(targets, count, 2 * count) for count in _COUNTS]
        return np.column_stack([*of_targets, mean(similarities, _SIMILARITY_OF, 1)])


def _unit(rows: F32) -> F32:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: F32 = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return unit
