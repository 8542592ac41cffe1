"""Whether the cells of a metadata column make it a feature, and when they are too bad to go on."""

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from clipfarm_tasks.config import Frozen
from clipfarm_tasks.data.cells import UNDECODABLE
from clipfarm_tasks.data.columns import KNOWN, PUBLISHED
from clipfarm_tasks.data.computed_features import TEXTS
from clipfarm_tasks.errors import DataError

# Of an unknown column's cells that hold something: below, it is taken for text with some numbers in it.
LEAST_READABLE = 0.95
# Of a known column's cells that hold something: above, upstream writes it in another way than it used to.
MOST_UNREADABLE = 0.5


class Flaw(StrEnum):
    """What keeps the cells of a column from being a feature."""

    EMPTY = "empty"
    UNREADABLE = "unreadable"
    CONSTANT = "constant"


class ColumnCells(Frozen):
    """The cells of a column in the kept rows of a horizon."""

    readable: int = Field(description="Cells that hold a value")
    unreadable: int = Field(description="Cells that hold something else; they count as missing")
    flaw: Flaw | None = Field(description="What keeps the column from being a feature, if its cells do")


def numeric_cells(name: str, cells: pa.Array) -> ColumnCells:
    """Judge (N,) float64 cells: null where missing, NaN where unreadable."""
    values = cells.to_numpy(zero_copy_only=False)
    present = values[~np.isnan(values)]
    unreadable = values.size - present.size - cells.null_count
    return _judged(name, present.size, unreadable, varies=bool((present[1:] != present[:-1]).any()))


def category_cells(name: str, cells: pa.DictionaryArray) -> ColumnCells:
    """Judge (N,) texts: null where missing, `UNDECODABLE` where unreadable."""
    position = pc.index(cells.dictionary, UNDECODABLE).as_py()
    unreadable = pc.sum(pc.equal(cells.indices, position)).as_py() or 0
    return _judged(name, len(cells) - cells.null_count - unreadable, unreadable, varies=True)


def _judged(name: str, readable: int, unreadable: int, *, varies: bool) -> ColumnCells:
    """A known column is a feature if a cell holds anything, an unknown one if nearly all that do are read and vary."""
    flaw = None
    if not readable + unreadable:
        flaw = Flaw.EMPTY
    elif name not in KNOWN and readable < LEAST_READABLE * (readable + unreadable):
        flaw = Flaw.UNREADABLE
    elif name not in KNOWN and not varies:
        flaw = Flaw.CONSTANT
    return ColumnCells(readable=readable, unreadable=unreadable, flaw=flaw)


def require_readable(features: Mapping[str, ColumnCells], examples: Mapping[str, str], where: str) -> None:
    """Last check of the features: a known one that upstream writes in a new way must not just fade away.

    Args:
        features: the columns that are features.
        examples: an unreadable cell, by column of the CSV.
        where: the CSV, for the message.

    Raises:
        DataError: more than half of the cells of a feature that hold anything are unreadable; names all such features.
    """
    bad = [
        f"{cells.unreadable} of {cells.readable + cells.unreadable} cells of {name}, such as "
        f"{examples.get(column_of(name))!r}"
        for name, cells in features.items()
        if cells.unreadable > MOST_UNREADABLE * (cells.readable + cells.unreadable)
    ]
    if bad:
        raise DataError(
            f"expected to read at least {1 - MOST_UNREADABLE:.0%} of a column's filled cells, got unreadable "
            f"{'; '.join(bad)}, in {where}"
        )


def column_of(name: str) -> str:
    """The column of the CSV that a feature is read from."""
    texts = {column: text for text, columns in TEXTS.items() for column in columns}
    return "published_at" if name in PUBLISHED else texts.get(name, name)
