"""One vector from the bytes of one ``.npy`` object. A pickle is never loaded: the array is viewed, not unpacked."""

import math
import re
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clipfarm_tasks.vectors.quarantine import BadVectorError, Reason

F32 = NDArray[np.float32]
Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]

_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}  # of the header's length, by version
_LONGEST_HEADER = 10_000  # numpy's own limit
# numpy reads a header with Python's parser: a hostile one ends in a RecursionError or MemoryError, and version 3 has no
# public reader. The header of numbers or text is three plain fields.
_FIELD = re.compile(
    r"""\s*['"](?:descr['"]\s*:\s*['"](?P<descr>[^'"]*)['"]|fortran_order['"]\s*:\s*(?P<fortran>True|False)"""
    r"""|shape['"]\s*:\s*\((?P<shape>[\d\s,L]*)\))\s*(?:,|$)"""
)
_FIELDS = {"descr", "fortran", "shape"}
_NUMBERS_OR_TEXT = re.compile(r"[<>|=]?[fiuSU]\d{1,9}")
_REAL_KINDS = "fiu"
WIDEST_NUMBER = 16  # bytes
_UNDECLARED_WIDTH = 2**20
_SLACK = 64 * 2**10
_MOST_DIMENSIONS = 2
_MOST_DIGITS = 18


def largest_npy(width: int | None) -> int:
    """Bytes that the ``.npy`` of one vector may have; of a width that nobody declared, a million columns."""
    return _SLACK + WIDEST_NUMBER * (width or _UNDECLARED_WIDTH)


def parse_npy(body: bytes) -> Array:
    """View the bytes of an ``.npy`` file as an array, without copying.

    The format is numpy's (numpy.lib.format, versions 1 to 3). The size the header declares is compared with the size of
    the body before anything is allocated.

    Returns:
        Read-only array of numbers or text, not empty, of one or two dimensions.

    Raises:
        BadVectorError: the bytes are not such an array; states why.
    """
    if not body:
        raise BadVectorError(Reason.EMPTY_OBJECT, "expected an .npy array, got 0 bytes")
    header, start = _header(body)
    shape, order, dtype = _layout(header)
    size = math.prod(shape) * dtype.itemsize
    if not 1 <= len(shape) <= _MOST_DIMENSIONS or not size:
        raise BadVectorError(Reason.WRONG_SHAPE, f"expected values in one or two dimensions, got shape {shape}")
    if size > len(body) - start:
        raise BadVectorError(Reason.TRUNCATED, f"expected {size} bytes of values, got {len(body) - start}")
    return np.frombuffer(body, dtype, math.prod(shape), start).reshape(shape, order=order)


def _header(body: bytes) -> tuple[bytes, int]:
    """The header, and where the values begin, by the length stated after the magic string and the version."""
    first = len(_MAGIC) + 2
    values = first + _LENGTH_BYTES.get(body[first - 2] if len(body) >= first else 1, 0)
    if not body.startswith(_MAGIC[: len(body)]) or values == first:
        raise BadVectorError(Reason.NOT_AN_ARRAY, f"expected an .npy array, got {len(body)} bytes of something else")
    length = int.from_bytes(body[first:values], "little")
    if length > _LONGEST_HEADER:
        raise BadVectorError(
            Reason.NOT_AN_ARRAY, f"expected an .npy header of at most {_LONGEST_HEADER} bytes, got {length}"
        )
    if len(body) < values + length:
        raise BadVectorError(Reason.TRUNCATED, f"expected an .npy header, got {len(body)} bytes")
    return body[values : values + length], values + length


@lru_cache(maxsize=256)
def _layout(header: bytes) -> tuple[tuple[int, ...], Literal["C", "F"], np.dtype[np.generic]]:
    """Shape, memory order and type of an array, by its header. Vectors of one kind share one."""
    text = header.decode("latin1").strip()
    fields: dict[str, str] = {}
    at, end = 1, len(text) - 1
    while at < end and (field := _FIELD.match(text, at, end)):
        fields |= {name: value for name, value in field.groupdict().items() if value is not None}
        at = field.end()
    if text[:1] + text[-1:] != "{}" or text[at:end].strip() or fields.keys() != _FIELDS:
        raise BadVectorError(
            Reason.NOT_AN_ARRAY, f"expected descr, fortran_order and shape of plain values, got {text[:200]!r}"
        )
    dimensions = re.findall(r"\d+", fields["shape"])
    if any(len(number) > _MOST_DIGITS for number in dimensions):
        raise BadVectorError(
            Reason.WRONG_SHAPE, f"expected sizes of at most {_MOST_DIGITS} digits, got ({fields['shape'][:200]})"
        )
    order: Literal["C", "F"] = "F" if fields["fortran"] == "True" else "C"
    return tuple(map(int, dimensions)), order, _dtype(fields["descr"])


def _dtype(descr: str) -> np.dtype[np.generic]:
    if descr.lstrip("<>|=") == "O":
        raise BadVectorError(
            Reason.OBJECT_ARRAY, "expected plain numbers or text, got pickled objects, which are not loaded"
        )
    try:
        if _NUMBERS_OR_TEXT.fullmatch(descr):
            return np.dtype(descr)
    except TypeError:
        pass
    raise BadVectorError(Reason.UNSUPPORTED_TYPE, f"expected plain numbers or text, got {descr[:200]!r}")


def as_float32(values: Array) -> F32:
    """Convert real numbers of any width and byte order.

    What overflows float32 becomes infinite, for the check of finite values to find.

    Returns:
        Same shape, float32, native byte order, C-contiguous.

    Raises:
        BadVectorError: not real numbers (complex, text, boolean, dates).
    """
    if values.dtype.kind not in _REAL_KINDS:
        raise BadVectorError(Reason.UNSUPPORTED_TYPE, f"expected real numbers, got {values.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)


def decode_npy(body: bytes) -> F32:
    """Read one vector.

    Args:
        body: the object: shape (dim,) or (1, dim), float, signed or unsigned integers, any byte or memory order.

    Returns:
        (dim,) float32, finite; may be read-only.

    Raises:
        BadVectorError: the bytes are not such a vector; states why.
    """
    values = parse_npy(body)
    row = values[0] if values.shape[:-1] == (1,) else values
    if row.ndim != 1:
        raise BadVectorError(Reason.WRONG_SHAPE, f"expected shape (dim,) or (1, dim), got {values.shape}")
    vector = as_float32(row)
    if not np.isfinite(vector).all():
        bad = int(np.count_nonzero(~np.isfinite(vector)))
        raise BadVectorError(
            Reason.NOT_FINITE, f"expected finite values, got {bad} of {vector.size} not finite in float32"
        )
    return vector
