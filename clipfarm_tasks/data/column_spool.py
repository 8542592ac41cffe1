"""Whole columns in, parts of rows out: turns a table on disk, of which one column at a time is in memory."""

from collections.abc import Iterable, Iterator
from typing import IO

import pyarrow as pa


class ColumnSpool:
    """Columns in a file, cut at the same rows; every byte is written once and read once."""

    def __init__(self, file: IO[bytes]) -> None:
        """Write to ``file``, which can be read at any position."""
        self._file = file
        self._pieces: list[list[tuple[pa.Schema, int, int]]] = []

    def add(self, field: pa.Field, pieces: Iterable[pa.Array]) -> None:
        """Append a column, its cells piece by piece."""
        schema = pa.schema([field])
        written = []
        for cells in pieces:
            start = self._file.tell()
            written.append((schema, start, self._file.write(pa.record_batch([cells], schema).serialize())))
        self._pieces.append(written)

    def parts(self) -> Iterator[pa.Table]:
        """The rows of all columns, as many at a time as the pieces had."""
        for pieces in zip(*self._pieces, strict=True):
            batches = [self._read(*piece) for piece in pieces]
            yield pa.table(
                [batch.column(0) for batch in batches], pa.schema([batch.schema.field(0) for batch in batches])
            )

    def _read(self, schema: pa.Schema, start: int, size: int) -> pa.RecordBatch:
        self._file.seek(start)
        return pa.ipc.read_record_batch(pa.py_buffer(self._file.read(size)), schema)
