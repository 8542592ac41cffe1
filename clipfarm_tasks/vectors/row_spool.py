"""Rows on their way into a vector table, on disk: memory stays flat, and a merge can be repeated."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pyarrow as pa

from clipfarm_tasks.storage.temporary_disk import room_on_disk

_PIECE_BYTES = 8 * 2**20


@contextmanager
def row_spool() -> Iterator["RowSpool"]:
    """A spool for the length of a ``with`` block.

    Its file has no name: its space is freed with it, and also when the process is killed.
    """
    with room_on_disk("rows of a vector table"), tempfile.TemporaryFile(prefix="clipfarm-") as file:
        yield RowSpool(file)


class RowSpool:
    """Record batches of one schema in a file; ``nbytes`` counts those of the rows."""

    def __init__(self, file: IO[bytes]) -> None:
        """Nothing is written before the first batch."""
        self._file = file
        self._writer: pa.RecordBatchStreamWriter | None = None
        self.nbytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; the first batch decides the schema. A large batch is cut into pieces of 8 MiB.

        Raises:
            ConfigError: the temporary folder has no room.
        """
        rows = max(1, batch.num_rows * _PIECE_BYTES // max(1, batch.nbytes))
        with room_on_disk("rows of a vector table", batch.nbytes):
            if self._writer is None:
                self._writer = pa.ipc.new_stream(pa.PythonFile(self._file, "w"), batch.schema)
            for start in range(0, batch.num_rows, rows):
                self._writer.write_batch(batch.slice(start, rows))
        self.nbytes += batch.nbytes

    def to_reader(self) -> pa.RecordBatchReader:
        """All rows from the first one on; the spool takes no more. At least one batch must have been written."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._file.seek(0)
        return pa.ipc.open_stream(pa.PythonFile(self._file, "r"))
