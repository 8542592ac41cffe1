"""One vector from the bytes of one object."""

import io
import pickle

import numpy as np
import pytest

from clipfarm_tasks.vectors.npy import decode_npy, largest_npy
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


def with_header(header, values=bytes(64), version=1):
    """An ``.npy`` whose header is this text, whatever it says."""
    padded = header + b" " * (-(len(header) + 11) % 64) + b"\n"
    length = len(padded).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + padded + values


def header(descr="<f4", shape=(4,), fortran_order=False):
    return repr({"descr": descr, "fortran_order": fortran_order, "shape": shape}).encode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (header(shape=(-2,)), Reason.NOT_AN_ARRAY),
        (header(shape=(-1, -1)), Reason.NOT_AN_ARRAY),
        (header(shape=(True,)), Reason.NOT_AN_ARRAY),
        (header(shape=(4.0,)), Reason.NOT_AN_ARRAY),
        (header(shape="4"), Reason.NOT_AN_ARRAY),
        (header(shape=(1,) * 65), Reason.WRONG_SHAPE),
        (header(shape=()), Reason.WRONG_SHAPE),
        (header(shape=(0, 2**70)), Reason.WRONG_SHAPE),
        (header(shape=(0, 2**62)), Reason.WRONG_SHAPE),
        (header(shape=(2**40, 2**40)), Reason.TRUNCATED),
        (header("|S0", (10**15,)), Reason.WRONG_SHAPE),
        (header("<U0", (10**12,)), Reason.WRONG_SHAPE),
        (header("|V0", (10**15,)), Reason.UNSUPPORTED_TYPE),
        (header("(4,)<f4", (2,)), Reason.UNSUPPORTED_TYPE),
        (header("<f3"), Reason.UNSUPPORTED_TYPE),
        (header("<U999999999"), Reason.UNSUPPORTED_TYPE),
        (header("<M8[s]"), Reason.UNSUPPORTED_TYPE),
        (header([("a", "<f4")]), Reason.NOT_AN_ARRAY),
        (header("|O"), Reason.OBJECT_ARRAY),
        (header(fortran_order=1), Reason.NOT_AN_ARRAY),
        (b"['descr', '<f4']", Reason.NOT_AN_ARRAY),
        (b"{'descr': '<f4', 'shape': (4,)}", Reason.NOT_AN_ARRAY),
        (header()[:-1] + b", 'more': 1}", Reason.NOT_AN_ARRAY),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': " + b"-" * 5000 + b"1}", Reason.NOT_AN_ARRAY),
        (b"", Reason.NOT_AN_ARRAY),
        (header() + b" " * 20_000, Reason.NOT_AN_ARRAY),
    ],
)
def test_a_header_that_no_vector_has_is_refused_with_its_reason(text, reason):
    with pytest.raises(BadVectorError, match=r"expected .*, got") as refused:
        decode_npy(with_header(text))
    assert refused.value.reason is reason


def test_what_numpy_cannot_refuse_with_an_error_of_its_own():
    """The reason why its reader of headers is not used."""
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': " + b"-" * 5000 + b"1}"
    with pytest.raises((RecursionError, MemoryError)):
        np.load(io.BytesIO(with_header(text)))


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(
    "text",
    [
        header(),
        header().replace(b"'", b'"'),
        b"{'shape': (4L,),'descr':'<f4' , 'fortran_order':False,}",
        b"{ 'fortran_order': True,\n'shape':(1, 4), 'descr': '=f4'}",
    ],
)
def test_other_writers_headers_are_read(text, version):
    values = np.arange(4, dtype="<f4")
    np.testing.assert_array_equal(decode_npy(with_header(text, values.tobytes(), version)), values)


@pytest.mark.parametrize("version", [0, 4, 147])
def test_another_version_is_refused(version):
    with pytest.raises(BadVectorError, match="of something else"):
        decode_npy(with_header(header(), version=version))


def test_header_longer_than_the_body_is_truncated():
    with pytest.raises(BadVectorError) as refused:
        decode_npy(b"\x93NUMPY\x01\x00\xff\x0f{'descr'")
    assert refused.value.reason is Reason.TRUNCATED


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "f16", "i8"])
def test_every_vector_of_a_width_fits_what_is_allowed_for_it(dtype):
    assert len(npy(np.ones((1, 2000), dtype))) <= largest_npy(2000) < len(npy(np.ones(13_000, "f8")))


def test_a_damaged_body_is_a_vector_or_refused_and_nothing_else():
    rng = np.random.default_rng(3)
    bodies = [GOOD, npy(VALUES.reshape(1, 9)), npy(np.arange(9)), npy(np.array(["a", "bc"]))]
    read = refused = 0
    for number in range(4000):
        body = bytearray(bodies[number % len(bodies)])
        for at in rng.integers(0, len(body), rng.integers(1, 4)):
            body[at : at + int(rng.integers(2))] = rng.bytes(int(rng.integers(3)))
        try:
            vector = decode_npy(bytes(body))
        except BadVectorError:
            refused += 1
        else:
            assert (vector.dtype, vector.ndim) == (np.float32, 1)
            assert np.isfinite(vector).all()
            read += 1
    assert read > 100
    assert refused > 1000
