"""One vector from the bytes of one ``.npy`` object. A pickle is never loaded: the array is viewed, not unpacked."""

import io
import math
from functools import lru_cache

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from clipfarm_tasks.vectors.quarantine import BadVectorError, Reason

F32 = NDArray[np.float32]

_REAL_KINDS = "fiu"
_HEADER_READERS = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}


def parse_npy(body: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    """View the bytes of an ``.npy`` file as an array, without copying and whatever its shape.

    The format is numpy's (numpy.lib.format, versions 1.0 and 2.0). The size the header declares is compared with the
    size of the body before anything is allocated.

    Returns:
        Read-only array of any shape and any type but object.

    Raises:
        BadVectorError: empty, not an ``.npy``, shorter than it declares, or an array of pickled objects.
    """
    if not body:
        raise BadVectorError(Reason.EMPTY_OBJECT, "expected an .npy array, got 0 bytes")
    try:
        shape, fortran, dtype, start = _layout(body[: _header_bytes(body)])
    except (ValueError, KeyError) as error:
        cut = npy_format.MAGIC_PREFIX.startswith(body[: len(npy_format.MAGIC_PREFIX)])
        reason = Reason.TRUNCATED if cut and "EOF" in str(error) else Reason.NOT_AN_ARRAY
        raise BadVectorError(reason, f"expected an .npy array, got {len(body)} bytes: {error}") from error
    if dtype.hasobject:
        raise BadVectorError(
            Reason.OBJECT_ARRAY, "expected plain numbers or text, got pickled objects, which are not loaded"
        )
    count = math.prod(shape)
    if count * dtype.itemsize > len(body) - start:
        raise BadVectorError(
            Reason.TRUNCATED, f"expected {count * dtype.itemsize} bytes of values, got {len(body) - start}"
        )
    if not count * dtype.itemsize:
        return np.empty(shape, dtype)
    flat = np.frombuffer(body, dtype, count, start)
    return flat.reshape(shape, order="F" if fortran else "C")


def _header_bytes(body: bytes) -> int:
    """Where the values begin, by the length that versions 1 and 2 of the format state after the magic string."""
    first = npy_format.MAGIC_LEN
    last = first + (2 if body[first - 2 : first - 1] == b"\x01" else 4)
    return last + int.from_bytes(body[first:last], "little")


@lru_cache(maxsize=256)
def _layout(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[np.generic], int]:
    """Shape, Fortran order, type and first value of an array, by its header. Vectors of one kind share one."""
    stream = io.BytesIO(header)
    version = npy_format.read_magic(stream)
    shape, fortran, dtype = _HEADER_READERS[version](stream)
    return shape, fortran, dtype, stream.tell()


def as_float32(values: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> F32:
    """Convert real numbers of any width and byte order.

    What overflows float32 becomes infinite, for the check of finite values to find.

    Returns:
        Same shape, float32, native byte order, C-contiguous.

    Raises:
        BadVectorError: not real numbers (complex, text, boolean, dates).
    """
    if values.dtype.kind not in _REAL_KINDS:
        raise BadVectorError(Reason.UNSUPPORTED_TYPE, f"expected real numbers, got {values.dtype}")
    with np.errstate(over="ignore"):
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
    if row.ndim != 1 or not row.size:
        raise BadVectorError(Reason.WRONG_SHAPE, f"expected shape (dim,) or (1, dim), got {values.shape}")
    vector = as_float32(row)
    if not np.isfinite(vector).all():
        bad = int(np.count_nonzero(~np.isfinite(vector)))
        raise BadVectorError(
            Reason.NOT_FINITE, f"expected finite values, got {bad} of {vector.size} not finite in float32"
        )
    return vector
