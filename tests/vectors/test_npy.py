"""One vector from the bytes of one object."""

import io
import pickle

import numpy as np
import pytest

from clipfarm_tasks.vectors.npy import decode_npy
from clipfarm_tasks.vectors.quarantine import BadVectorError, Reason

VALUES = np.linspace(-2, 2, 9)


def npy(array, **options):
    body = io.BytesIO()
    np.save(body, array, **options)
    return body.getvalue()


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8", "<i4", ">i8", "u1"])
@pytest.mark.parametrize("shape", [(9,), (1, 9)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_real_numbers_of_any_type_and_layout_become_float32(dtype, shape, order):
    values = np.abs(VALUES * 100).astype(dtype)
    vector = decode_npy(npy(np.asarray(values.reshape(shape), order=order)))
    assert (vector.dtype, vector.shape, vector.flags.c_contiguous) == (np.float32, (9,), True)
    np.testing.assert_array_equal(vector, values.astype(np.float32))


class Bomb:
    """Writes a mark when it is unpickled."""

    opened = False

    def __reduce__(self):
        return (setattr, (Bomb, "opened", True))


def test_a_pickle_is_never_loaded():
    body = npy(np.array([Bomb(), 1], dtype=object), allow_pickle=True)
    for attempt in (body, pickle.dumps(Bomb())):
        with pytest.raises(BadVectorError):
            decode_npy(attempt)
    assert not Bomb.opened
    np.load(io.BytesIO(body), allow_pickle=True)
    assert Bomb.opened  # the mark works


GOOD = npy(VALUES.astype(np.float32))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.EMPTY_OBJECT),
        (b"<?xml version='1.0'?><Error/>", Reason.NOT_AN_ARRAY),
        (GOOD[:4], Reason.TRUNCATED),
        (GOOD[:40], Reason.TRUNCATED),
        (GOOD[:-1], Reason.TRUNCATED),
        (npy(np.array([1, None], dtype=object), allow_pickle=True), Reason.OBJECT_ARRAY),
        (npy(np.array([1j])), Reason.UNSUPPORTED_TYPE),
        (npy(np.array(["1"])), Reason.UNSUPPORTED_TYPE),
        (npy(np.array([True])), Reason.UNSUPPORTED_TYPE),
        (npy(np.zeros((2, 9))), Reason.WRONG_SHAPE),
        (npy(np.zeros((1, 1, 9))), Reason.WRONG_SHAPE),
        (npy(np.float32(1)), Reason.WRONG_SHAPE),
        (npy(np.zeros(0)), Reason.WRONG_SHAPE),
        (npy(np.array([1, np.nan])), Reason.NOT_FINITE),
        (npy(np.array([1, -np.inf], dtype="<f4")), Reason.NOT_FINITE),
        (npy(np.array([1e300])), Reason.NOT_FINITE),
    ],
)
def test_what_is_no_vector_is_refused_with_its_reason(body, reason):
    with pytest.raises(BadVectorError, match=r"expected .*, got") as refused:
        decode_npy(body)
    assert refused.value.reason is reason


def test_a_header_that_declares_more_than_memory_is_refused_without_allocating():
    body = GOOD.replace(b"(9,), }" + b" " * 12, b"(9" + b"0" * 12 + b",), }")
    assert len(body) == len(GOOD)
    assert body != GOOD
    with pytest.raises(BadVectorError, match="bytes of values") as refused:
        decode_npy(body)
    assert refused.value.reason is Reason.TRUNCATED
