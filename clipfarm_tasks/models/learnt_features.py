"""Features of set ``v3`` that a model learns from the rows it is fitted on, in front of any family."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Family
from clipfarm_tasks.models import creator_history, text_neighbours
from clipfarm_tasks.models.creator_history import CreatorHistory
from clipfarm_tasks.models.family import FitOptions, FitReport, ModelFamily
from clipfarm_tasks.models.inputs import F32, F64, ModelInputs
from clipfarm_tasks.models.text_neighbours import TextNeighbours

COLUMNS = (*text_neighbours.COLUMNS, *creator_history.COLUMNS)


@dataclass(frozen=True)
class LearntFeatures:
    """The fitted blocks; a block of which no column is asked for is None.

    Attributes:
        neighbours: index of texts.
        history: labels of creators.
    """

    neighbours: TextNeighbours | None
    history: CreatorHistory | None

    @classmethod
    def fit(
        cls, rows: ModelInputs, target: F32, columns: Collection[str], seed: int, family: Family
    ) -> tuple[Self, ModelInputs]:
        """Learn from N rows; the rows come back with the columns, to none of which a row's own label contributes.

        Raises:
            DataError: an input is None that a column needs.
        """
        neighbours, history = None, None
        found: dict[str, F64] = {}
        if {*columns} & {*text_neighbours.COLUMNS}:
            text = _required(rows.text, "text", family)
            neighbours, values = TextNeighbours.fit(text, rows.text_present, target, seed)
            found = dict(zip(text_neighbours.COLUMNS, values.T, strict=True))
        if {*columns} & {*creator_history.COLUMNS}:
            provenance = _required(rows.provenance, "provenance", family)
            history = CreatorHistory.fit(provenance, target.astype(np.float64))
        return cls(neighbours, history), cls(None, history).added_to(_with(rows, found), family)

    def added_to(self, rows: ModelInputs, family: Family) -> ModelInputs:
        """Rows that were not learnt from, with the columns.

        Raises:
            DataError: an input is None that a column needs.
        """
        found: dict[str, F64] = {}
        if self.neighbours:
            values = self.neighbours(_required(rows.text, "text", family), rows.text_present)
            found |= dict(zip(text_neighbours.COLUMNS, values.T, strict=True))
        if self.history:
            values = self.history(_required(rows.provenance, "provenance", family))
            found |= dict(zip(creator_history.COLUMNS, values.T, strict=True))
        return _with(rows, found)

    def save(self, folder: Path, family: Family) -> list[Path]:
        """Write ``<family>_text_neighbours.arrow`` and ``<family>_creator_history.arrow``, as far as there are such."""
        blocks = zip((self.neighbours, self.history), _files(folder, family), strict=True)
        return [block.save(path) for block, path in blocks if block]

    @classmethod
    def load(cls, folder: Path, family: Family) -> Self:
        """Read what `save` wrote."""
        texts, creators = _files(folder, family)
        return cls(
            TextNeighbours.load(texts) if texts.exists() else None,
            CreatorHistory.load(creators) if creators.exists() else None,
        )


class WithLearntFeatures:
    """A family whose metadata has the learnt columns beside the others; see `ModelFamily` for the contract."""

    def __init__(self, name: Family, family: ModelFamily) -> None:
        """Unfitted, like ``family``."""
        self._name, self._family = name, family
        self._learnt = LearntFeatures(None, None)

    def fit(
        self, train: ModelInputs, train_target: F32, val: ModelInputs, val_target: F32, options: FitOptions
    ) -> FitReport:
        """Learn the columns from the train part, and fit the family with them."""
        inner = self._inner(options)
        self._learnt, train = self._learn(train, train_target, options)
        report = self._family.fit(train, train_target, self._learnt.added_to(val, self._name), val_target, inner)
        return replace(report, hyperparams={**report.hyperparams, "learnt_cols": list(options.learnt_cols)})

    def refit(self, rows: ModelInputs, target: F32, options: FitOptions) -> dict[str, Any]:
        """Learn the columns anew from these rows, and refit the family with them."""
        self._learnt, rows = self._learn(rows, target, options)
        return self._family.refit(rows, target, self._inner(options))

    def predict(self, rows: ModelInputs) -> F32:
        """(N,) float32 predictions of ``target_log``.

        Raises:
            DataError: an input is missing.
        """
        return self._family.predict(self._learnt.added_to(rows, self._name))

    def save(self, folder: Path) -> list[Path]:
        """Write the family's files, and those of the learnt columns."""
        return [*self._family.save(folder), *self._learnt.save(folder, self._name)]

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self._family.load(folder)
        self._learnt = LearntFeatures.load(folder, self._name)

    def _learn(self, rows: ModelInputs, target: F32, options: FitOptions) -> tuple[LearntFeatures, ModelInputs]:
        return LearntFeatures.fit(rows, target, options.learnt_cols, options.seed, self._name)

    def _inner(self, options: FitOptions) -> FitOptions:
        return replace(options, numeric_cols=(*options.numeric_cols, *options.learnt_cols))


def _files(folder: Path, family: Family) -> tuple[Path, Path]:
    return folder / f"{family}_text_neighbours.arrow", folder / f"{family}_creator_history.arrow"


def _with(rows: ModelInputs, columns: dict[str, F64]) -> ModelInputs:
    """The rows with these columns; a feature of upstream that is called the same stays what it is."""
    added = {name: values for name, values in columns.items() if name not in rows.metadata}
    return replace(rows, metadata=rows.metadata.assign(**added)) if added else rows


def _required(value: Any, name: str, family: Family) -> Any:
    if value is None:
        raise DataError(
            f"expected the input {name!r}, which columns learnt from other rows need, got None, in family {family}"
        )
    return value
