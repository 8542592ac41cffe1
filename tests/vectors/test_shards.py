"""Fused vectors from the bytes of one shard."""

import io
import zipfile

import numpy as np
import pytest

from clipfarm_tasks.vectors.quarantine import BadVectorError, Reason
from clipfarm_tasks.vectors.shards import decode_shard, slice_shard

KEY = "clipfarm/fused/concat/shards/date=2026-03-01/part-0000.npz"
IDS = np.array([f"v{i}" for i in range(6)])
VECTORS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def npz(compressed=False, **members):
    body = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(body, **members)
    return body.getvalue()


def cut(body, ids, rows, width=4):
    return slice_shard(decode_shard(body, KEY), np.array(ids, dtype=object), np.array(rows, dtype=np.int64), width)


def reasons(quarantined):
    return [(row.video_id, row.reason) for row in quarantined]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("vectors", [VECTORS, np.asfortranarray(VECTORS), VECTORS.astype(">f4"), VECTORS.astype("f8")])
@pytest.mark.parametrize("ids", [IDS, IDS.astype("S")])
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
        (VECTORS[:, :, None], Reason.WRONG_SHAPE),
        (VECTORS.astype(np.complex64), Reason.UNSUPPORTED_TYPE),
    ],
)
def test_a_matrix_of_another_shape_or_type_loses_every_row(vectors, reason):
    ok, found, quarantined = cut(npz(video_ids=IDS, vectors=vectors), ["v0", "v1"], [0, 1])
    assert not ok.any()
    assert found.shape == (0, 4)
    assert reasons(quarantined) == [("v0", reason), ("v1", reason)]


def test_an_empty_shard_loses_every_row():
    ok, found, quarantined = cut(npz(video_ids=IDS[:0], vectors=VECTORS[:0]), ["v0"], [0])
    assert not ok.any()
    assert found.shape == (0, 4)
    assert reasons(quarantined) == [("v0", Reason.INDEX_OUT_OF_RANGE)]


GOOD = npz(video_ids=IDS, vectors=VECTORS)
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
        (npz(video_ids=np.arange(6), vectors=VECTORS), Reason.UNSUPPORTED_TYPE),
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
