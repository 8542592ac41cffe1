"""Rows on their way into a vector table, on disk: memory stays flat, and a merge can be repeated."""

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa


class RowSpool:
    """Record batches of one schema in a temporary file, for the length of a ``with`` block.

    Attributes:
        rows: rows written so far.
    """

    def __init__(self) -> None:
        """Nothing is created before the first batch."""
        self.rows = 0
        self._folder = tempfile.TemporaryDirectory(prefix="clipfarm-")
        self._path = Path(self._folder.name) / "rows.arrow"
        self._writer: pa.RecordBatchStreamWriter | None = None

    def __enter__(self) -> Self:
        """The spool itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the file."""
        self._close()
        self._folder.cleanup()

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; the first batch decides the schema."""
        if self._writer is None:
            self._writer = pa.ipc.new_stream(self._path, batch.schema)
        self._writer.write_batch(batch)
        self.rows += batch.num_rows

    def to_reader(self) -> pa.RecordBatchReader:
        """All rows from the first one on; the spool takes no more. At least one batch must have been written."""
        self._close()
        return pa.ipc.open_stream(pa.OSFile(str(self._path)))

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
