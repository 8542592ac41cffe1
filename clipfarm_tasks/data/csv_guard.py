"""Guard a CSV stream: refuse quoting that would silently merge rows, and say on which line it is."""

import csv
import io
import re
from typing import BinaryIO

import numpy as np

from clipfarm_tasks.errors import DataError

_BOM = b"\xef\xbb\xbf"
_QUOTE = ord('"')
_BESIDE_QUOTE = np.isin(np.arange(256), list(b',\r\n"'))
_END_OF_FIELD = re.compile(rb"[,\r\n]")
_WINDOW = 1024


class GuardedReader(io.RawIOBase):
    """Passes a CSV stream on and refuses quoting that would silently merge rows.

    A quote opens a field only at the field's start, and closes it only before a comma, a line end or another quote
    (RFC 4180, section 2). A stray quote otherwise swallows every row up to the next one, and the parser does not mind.
    Quotes inside an unquoted field are plain characters, for the parser as well.
    """

    def __init__(self, source: BinaryIO, where: str, block_bytes: int) -> None:
        """Guard ``source``; ``block_bytes`` must hold the header, and is what an unlimited read returns."""
        super().__init__()
        self._block_bytes = block_bytes
        self._source = source
        self._where = where
        self._head = b""
        self._unchecked = b"\n"  # the byte before what is still to be checked, then what is
        self._inside = False
        self._opened_on = 0
        self._lines = 1

    def readable(self) -> bool:
        """Always."""
        return True

    def read_header(self) -> tuple[str, ...]:
        """The column names; the bytes read for it stay in the stream.

        Raises:
            DataError: the file is empty, or its first line is no CSV record.
        """
        self._head = self._fill(self._block_bytes).removeprefix(_BOM)
        text = io.StringIO(self._head.decode(errors="surrogateescape"), newline="")
        try:
            header = next((row for row in csv.reader(text) if row), [])
        except csv.Error as error:
            raise DataError(f"expected a CSV header, got {error}, in {self._where}") from error
        if not header:
            raise DataError(f"expected a CSV with a header line, got an empty file, in {self._where}")
        return tuple(header)

    def read(self, size: int = -1) -> bytes:
        """The next bytes, exactly ``size`` unless the stream ends.

        Raises:
            DataError: a quote opens or closes where none may; names its line.
        """
        wanted = size if size >= 0 else self._block_bytes
        chunk, self._head = self._head[:wanted], self._head[wanted:]
        chunk += self._fill(wanted - len(chunk))
        self._check(chunk)
        return chunk

    def _fill(self, size: int) -> bytes:
        """Read exactly ``size`` bytes unless the stream ends: the parser takes a short read for a whole block."""
        parts: list[bytes] = []
        while size > 0 and (part := self._source.read(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _check(self, chunk: bytes) -> None:
        """Check all bytes whose right neighbour is known; without a chunk, the stream has ended."""
        known = self._unchecked + (chunk or b"\n")
        ready = known.rstrip(b'"')
        data = np.frombuffer(ready, np.uint8)
        quotes = np.flatnonzero(data[1:] == _QUOTE) + 1
        opened = 0
        while quotes.size:
            window = quotes[:_WINDOW]
            opening = (np.arange(window.size) + self._inside) % 2 == 0
            legal = _BESIDE_QUOTE[np.where(opening, data[window - 1], data[window + 1])]
            good = window.size if legal.all() else int(np.argmin(legal))
            fields = window[:good][opening[:good] & (data[window[:good] - 1] != _QUOTE)]
            opened = int(fields[-1]) if fields.size else opened
            self._inside ^= bool(good % 2)
            if good == window.size:
                quotes = quotes[good:]
                continue
            position = int(window[good])
            if not opening[good]:
                raise DataError(
                    f"expected a comma or a line end after a closing quote, got {ready[position : position + 20]!r} "
                    f"on line {self._line(ready, position)}, in {self._where}"
                )
            end = _END_OF_FIELD.search(ready, position)
            if end is None:  # the field goes on in the next chunk, to the right of an ordinary character
                break
            quotes = quotes[np.searchsorted(quotes, end.start()) :]
        if opened:
            self._opened_on = self._line(ready, opened)
        self._lines += ready.count(b"\n", 1)
        self._unchecked = known[len(ready) - 1 :]
        if not chunk and self._inside:
            raise DataError(
                f"expected every quoted field to be closed, got the end of the file in the field that opens on line "
                f"{self._opened_on}, in {self._where}"
            )

    def position(self) -> str:
        """How far the stream was checked, in words for a message."""
        return f"a quoted field opened on line {self._opened_on}" if self._inside else f"by line {self._lines}"

    def _line(self, ready: bytes, position: int) -> int:
        return self._lines + ready.count(b"\n", 1, position)
