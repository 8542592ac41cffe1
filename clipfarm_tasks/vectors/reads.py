"""Take some videos' vectors out of one version of a Lance table: only their columns, only where they are stored."""

from collections.abc import Callable, Iterator, Sequence

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Allocate = Callable[[str, tuple[int, int]], F32]

_BATCH_ROWS = 256
_READ_AHEAD_BYTES = 4 * 2**20  # Lance's default is 2 GiB
# A row that is looked up alone costs as much as fifteen that are read in passing (measured at 768 columns).
_ALONE = 16


def in_memory(column: str, shape: tuple[int, int]) -> F32:
    """An uninitialised array of this shape; the `Allocate` that needs no place on disk."""
    del column
    return np.empty(shape, dtype=np.float32)


def read_vectors(
    dataset: lance.LanceDataset, key: str, columns: Sequence[str], wanted: NDArray[np.object_], allocate: Allocate
) -> tuple[dict[str, F32], NDArray[np.bool_]]:
    """Fill one array per column, row i with the vector of the video ``wanted[i]``.

    Args:
        dataset: a version of a table.
        key: its key column.
        columns: vector columns.
        wanted: (N,) text, each once.
        allocate: gets a column's name and its shape (N, D), returns the float32 array to fill.

    Returns:
        The arrays by column, and (N,) bool: which rows the table holds; the others were not written to.
    """
    stored = dataset.to_table(columns=[key], with_row_address=True)
    found = pc.index_in(stored[key], value_set=pa.array(wanted, pa.string()))
    target = pc.fill_null(found, -1).to_numpy().astype(np.int64)  # (M,) where each row of the table goes, -1: nowhere
    out = {name: allocate(name, (len(wanted), dataset.schema.field(name).type.list_size)) for name in columns}
    filled = np.zeros(len(wanted), dtype=bool)
    for batch, positions in _batches(dataset, columns, stored, target >= 0):
        rows = target[positions]
        chosen = rows >= 0
        for name, matrix in out.items():
            values = batch.column(name).flatten().to_numpy().reshape(-1, matrix.shape[1])
            # The choice is a copy more, but a batch stays in the cache: slices of neighbours, which save it, were as
            # fast where 90 % of the rows are wanted, and took 1.3 to 1.6 times as long at 50 %, twice as long at 20 %.
            matrix[rows[chosen]] = values if chosen.all() else values[chosen]
        filled[rows[chosen]] = True
    return out, filled


def _batches(
    dataset: lance.LanceDataset, columns: Sequence[str], stored: pa.Table, wanted: NDArray[np.bool_]
) -> Iterator[tuple[pa.RecordBatch, NDArray[np.int64]]]:
    """Batches that hold the wanted rows, and others beside them; each with its rows' positions in ``stored``.

    Positions follow from what comes with a row, its key or its address, never from the order of rows: that a row is the
    video's it is taken for must not depend on how Lance reads.
    """
    key, address = stored[0], stored["_rowaddr"].to_numpy()
    fragment = address >> np.uint64(32)
    for number in np.unique(fragment[wanted]).tolist():
        inside = np.flatnonzero(fragment == number)
        chosen = inside[wanted[inside]]
        if len(chosen) * _ALONE < len(inside):
            for start in range(0, len(chosen), _BATCH_ROWS):
                some = chosen[start : start + _BATCH_ROWS]
                taken = dataset.take(some.tolist(), columns=[stored.column_names[0], *columns]).combine_chunks()
                for batch in taken.to_batches():
                    yield batch, some[pc.index_in(batch.column(0), value_set=key.take(pa.array(some))).to_numpy()]
            continue
        inside = inside[np.argsort(address[inside])]
        for batch in _scan(dataset, columns, number):
            yield batch, inside[np.searchsorted(address[inside], batch["_rowaddr"].to_numpy())]


def _scan(dataset: lance.LanceDataset, columns: Sequence[str], number: int) -> Iterator[pa.RecordBatch]:
    fragments = [fragment for fragment in dataset.get_fragments() if fragment.fragment_id == number]
    scanner = dataset.scanner(
        columns=list(columns),
        fragments=fragments,
        with_row_address=True,
        batch_size=_BATCH_ROWS,
        batch_readahead=1,
        io_buffer_size=_READ_AHEAD_BYTES,
    )
    yield from scanner.to_batches()
