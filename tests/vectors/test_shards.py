"""Fused vectors from the bytes of one shard."""

import contextlib
import io
import tracemalloc
import warnings
import zipfile
from functools import cache

import numpy as np
import pytest

from clipfarm_tasks.vectors.quarantine import BadVectorError, Reason
from clipfarm_tasks.vectors.shards import decode_shard, largest_shard, slice_shard

KEY = "clipfarm/fused/concat/shards/date=2026-03-01/part-0000.npz"
IDS = np.array([f"v{i}" for i in range(6)])
VECTORS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def npz(compressed=False, **members):
    body = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(body, **members)
    return body.getvalue()


def npy(array):
    body = io.BytesIO()
    np.save(body, array)
    return body.getvalue()


def zipped(members, compression=zipfile.ZIP_STORED, twice=()):
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's about the same name
        for name, content in [*members.items(), *dict(twice).items()]:
            archive.writestr(name, content)
    return body.getvalue()


def cut(body, ids, rows, width=4):
    return slice_shard(decode_shard(body, KEY), np.array(ids, dtype=object), np.array(rows, dtype=np.int64), width)


def reasons(quarantined):
    return [(row.video_id, row.reason) for row in quarantined]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("vectors", [VECTORS, np.asfortranarray(VECTORS), VECTORS.astype(">f4"), VECTORS.astype("f8")])
@pytest.mark.parametrize("ids", [IDS, IDS.astype("S"), IDS.astype(">U9")])
def test_wanted_rows_in_wanted_order(vectors, ids, compressed):
    body = npz(compressed, video_ids=ids, vectors=vectors, captured_at=np.array([None], dtype=object))
    ok, found, quarantined = cut(body, ["v4", "v1", "v4"], [4, 1, 4])
    assert ok.all()
    assert quarantined == []
    assert (found.dtype, found.flags.c_contiguous) == (np.float32, True)
    np.testing.assert_array_equal(found, VECTORS[[4, 1, 4]])


def test_each_bad_row_is_quarantined_with_its_reason_and_the_good_ones_stay():
    vectors = VECTORS.copy()
    vectors[2, 1], vectors[3, 0] = np.nan, np.inf
    ids, rows = ["v0", "v9", "v2", "v3", "v5", "v1", "v4"], [0, 1, 2, 3, 6, -5, 4]
    ok, found, quarantined = cut(npz(video_ids=IDS, vectors=vectors), ids, rows)
    assert ok.tolist() == [True, False, False, False, False, False, True]
    np.testing.assert_array_equal(found, VECTORS[[0, 4]])
    assert reasons(quarantined) == [
        ("v9", Reason.OTHER_VIDEO),
        ("v2", Reason.NOT_FINITE),
        ("v3", Reason.NOT_FINITE),
        ("v5", Reason.INDEX_OUT_OF_RANGE),
        ("v1", Reason.INDEX_OUT_OF_RANGE),
    ]
    assert quarantined[0].detail == "expected the vector of v9, got that of v1"
    assert quarantined[3].detail == "expected shard_idx from 0 to 5, got 6"
    assert {row.key for row in quarantined} == {KEY}


def test_float64_that_overflows_float32_is_not_finite():
    vectors = VECTORS.astype(np.float64)
    vectors[1] = 1e300
    ok, found, quarantined = cut(npz(video_ids=IDS, vectors=vectors), ["v0", "v1"], [0, 1])
    assert ok.tolist() == [True, False]
    assert len(found) == 1
    assert reasons(quarantined) == [("v1", Reason.NOT_FINITE)]


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        (VECTORS[:, :3], Reason.WRONG_WIDTH),
        (VECTORS[:, 0], Reason.WRONG_SHAPE),
        (VECTORS.astype("U9"), Reason.UNSUPPORTED_TYPE),
    ],
)
def test_a_matrix_of_another_shape_or_type_loses_every_row(vectors, reason):
    ok, found, quarantined = cut(npz(video_ids=IDS, vectors=vectors), ["v0", "v1"], [0, 1])
    assert not ok.any()
    assert found.shape == (0, 4)
    assert reasons(quarantined) == [("v0", reason), ("v1", reason)]


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int8, ">i4"])
def test_ids_that_are_whole_numbers_are_read_in_decimal(dtype):
    ids = np.arange(10, 16).astype(dtype)
    ok, found, quarantined = cut(npz(video_ids=ids, vectors=VECTORS), ["13", "10", "99"], [3, 0, 1])
    assert ok.tolist() == [True, True, False]
    np.testing.assert_array_equal(found, VECTORS[[3, 0]])
    assert quarantined[0].detail == "expected the vector of 99, got that of 11"


GOOD = npz(video_ids=IDS, vectors=VECTORS)
MEMBERS = {"video_ids.npy": npy(IDS), "vectors.npy": npy(VECTORS)}
DAMAGED = GOOD.replace(VECTORS.tobytes(), VECTORS[::-1].tobytes())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.EMPTY_OBJECT),
        (b"not a zip", Reason.NOT_AN_ARRAY),
        (GOOD[: len(GOOD) // 2], Reason.TRUNCATED),
        (GOOD[:-10], Reason.TRUNCATED),
        (DAMAGED, Reason.TRUNCATED),
        (npz(video_ids=IDS), Reason.MISSING_MEMBER),
        (npz(vectors=VECTORS), Reason.MISSING_MEMBER),
        (npz(video_ids=IDS.astype(object), vectors=VECTORS), Reason.OBJECT_ARRAY),
        (npz(video_ids=IDS, vectors=VECTORS.astype(object)), Reason.OBJECT_ARRAY),
        (npz(video_ids=np.arange(6.0), vectors=VECTORS), Reason.UNSUPPORTED_TYPE),
        (npz(video_ids=IDS == "v1", vectors=VECTORS), Reason.UNSUPPORTED_TYPE),
        (npz(video_ids=np.full(6, 0xD800, "<u4").view("<U1"), vectors=VECTORS), Reason.INCONSISTENT_SHARD),
        (npz(video_ids=np.full(6, 0x110000, "<u4").view("<U1"), vectors=VECTORS), Reason.INCONSISTENT_SHARD),
        (npz(video_ids=IDS[:0], vectors=VECTORS[:0]), Reason.WRONG_SHAPE),
        (npz(video_ids=IDS, vectors=VECTORS[:, :, None]), Reason.WRONG_SHAPE),
        (npz(video_ids=IDS, vectors=VECTORS.astype(np.complex64)), Reason.UNSUPPORTED_TYPE),
        (zipped({"video_ids.npy": npy(IDS), "vectors.npy": GOOD}), Reason.NOT_AN_ARRAY),
        (zipped(MEMBERS, zipfile.ZIP_BZIP2), Reason.UNSUPPORTED_TYPE),
        (zipped(MEMBERS, zipfile.ZIP_LZMA), Reason.UNSUPPORTED_TYPE),
        (
            zipped(MEMBERS).replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"),
            Reason.UNSUPPORTED_TYPE,
        ),
        (zipped(MEMBERS, twice=MEMBERS), Reason.INCONSISTENT_SHARD),
        (zipped({f"{number}": b"" for number in range(2000)} | MEMBERS), Reason.OVERSIZED),
        (npz(video_ids=IDS[:5], vectors=VECTORS), Reason.INCONSISTENT_SHARD),
        (npz(video_ids=np.array([b"\xff"] * 6), vectors=VECTORS), Reason.INCONSISTENT_SHARD),
    ],
)
def test_what_is_no_shard_is_refused_with_its_reason(body, reason):
    with pytest.raises(BadVectorError, match=r"expected .*, got") as refused:
        decode_shard(body, KEY)
    assert refused.value.reason is reason


def test_each_member_is_read_once_however_many_rows_are_wanted(monkeypatch):
    opened = []
    original = zipfile.ZipFile.open

    def counting(archive, name, *args, **options):
        opened.append(getattr(name, "filename", name))
        return original(archive, name, *args, **options)

    monkeypatch.setattr(zipfile.ZipFile, "open", counting)
    cut(GOOD, IDS.tolist() * 50, list(range(6)) * 50)
    assert sorted(opened) == ["vectors.npy", "video_ids.npy"]

    lazy = np.load(io.BytesIO(GOOD))
    opened.clear()
    for row in range(6):
        lazy["vectors"][row]
    assert len(opened) >= 6  # the count sees what a row-by-row reader would do


@cache
def bomb(member, stated):
    """A small archive of which one member unpacks to 64 MiB of zeros, or to what it states to be."""
    body = zipped(MEMBERS | {member: bytes(64 * 2**20)}, zipfile.ZIP_DEFLATED)
    size = (64 * 2**20).to_bytes(4, "little")
    return body if stated is None else body.replace(size, stated.to_bytes(4, "little"))


@pytest.mark.parametrize("member", ["video_ids.npy", "vectors.npy"])
@pytest.mark.parametrize(("stated", "reason"), [(None, Reason.OVERSIZED), (2000, Reason.TRUNCATED)])
@pytest.mark.parametrize("largest", [None, largest_shard(6, 4)])
def test_nothing_is_unpacked_beyond_what_the_shard_can_hold(member, stated, reason, largest):
    body = bomb(member, stated)
    assert len(body) < 2**20
    tracemalloc.start()
    try:
        with pytest.raises(BadVectorError, match=r"expected .*, got") as refused:
            decode_shard(body, KEY, largest)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused.value.reason is reason
    assert peak < 8 * 2**20


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "f16"])
def test_every_shard_of_a_width_fits_what_is_allowed_for_it(dtype):
    ids = np.array([f"{number:0200d}" for number in range(500)])
    body = npz(video_ids=ids, vectors=np.ones((500, 2305), dtype), captured_at=ids)
    assert len(body) <= largest_shard(500, 2305) < 3 * 500 * 2305 * 16
    assert largest_shard(10**12, 2305) == largest_shard(None, 2305)
    assert len(decode_shard(body, KEY, largest_shard(500, 2305)).video_ids) == 500


def test_a_damaged_shard_is_read_or_refused_and_nothing_else():
    rng = np.random.default_rng(5)
    bodies = [GOOD, npz(True, video_ids=IDS.astype("S"), vectors=VECTORS), npz(video_ids=np.arange(6), vectors=VECTORS)]
    read = refused = 0
    for number in range(3000):
        body = bytearray(bodies[number % len(bodies)])
        for at in rng.integers(0, len(body), rng.integers(1, 3)):
            body[at : at + int(rng.integers(2))] = rng.bytes(int(rng.integers(3)))
        try:
            ok, found, quarantined = cut(bytes(body), ["v0", "1", "v9"], [0, 1, 2])
        except BadVectorError:
            refused += 1
        else:
            assert found.shape == (ok.sum(), 4)
            assert len(quarantined) == 3 - ok.sum()
            assert np.isfinite(found).all()
            read += 1
    assert read > 50
    assert refused > 1000


@pytest.mark.parametrize("member", list(MEMBERS))
def test_a_damaged_member_is_read_or_refused_and_nothing_else(member):
    rng = np.random.default_rng(6)
    for _ in range(1000):
        damaged = bytearray(MEMBERS[member])
        for at in rng.integers(0, len(damaged), 2):
            damaged[at : at + 1] = rng.bytes(int(rng.integers(3)))
        with contextlib.suppress(BadVectorError):
            cut(zipped(MEMBERS | {member: bytes(damaged)}), ["v0", "1", "v9"], [0, 1, 2])
