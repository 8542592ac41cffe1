"""Fused vectors from the bytes of one shard: every wanted row at once, each checked against the shard's own ids."""

import io
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipfarm_tasks.vectors.npy import F32, as_float32, parse_npy
from clipfarm_tasks.vectors.quarantine import BadVectorError, Quarantined, Reason, quarantine_all

_MATRIX = 2
_UNREADABLE_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True, eq=False)
class Shard:
    """One decoded shard.

    Attributes:
        where: its key, for quarantine lists.
        video_ids: (n,) text.
        vectors: (n, D) as stored; anything but object.
    """

    where: str
    video_ids: NDArray[np.str_]
    vectors: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"


def decode_shard(body: bytes, where: str) -> Shard:
    """Read the two members of an ``.npz`` that matter, each once; checksums are verified, pickles never loaded.

    Args:
        body: the object.
        where: its key.

    Raises:
        BadVectorError: empty, not a zip, cut off, or a member is missing, pickled, or does not fit the other.
    """
    if not body:
        raise BadVectorError(Reason.EMPTY_OBJECT, "expected an .npz shard, got 0 bytes")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            members = {name: _read_member(archive, name) for name in ("video_ids", "vectors")}
    except _UNREADABLE_ZIP as error:
        cut = body.startswith(b"PK")
        reason = Reason.TRUNCATED if cut else Reason.NOT_AN_ARRAY
        raise BadVectorError(reason, f"expected an .npz shard, got {len(body)} bytes: {error}") from error
    video_ids = _as_text(parse_npy(members["video_ids"]))
    vectors = parse_npy(members["vectors"])
    if video_ids.ndim != 1 or not vectors.ndim or len(video_ids) != len(vectors):
        raise BadVectorError(
            Reason.INCONSISTENT_SHARD,
            f"expected one vector per video_id, got video_ids {video_ids.shape} and vectors {vectors.shape}",
        )
    return Shard(where, video_ids, vectors)


def slice_shard(
    shard: Shard, video_ids: NDArray[np.object_], shard_idx: NDArray[np.int64], expected_dim: int
) -> tuple[NDArray[np.bool_], F32, list[Quarantined]]:
    """Take the wanted rows of a shard in one indexing operation.

    Args:
        shard: the shard.
        video_ids: (M,) text, the wanted videos.
        shard_idx: (M,) the row of the shard each should be in.
        expected_dim: D, the declared width.

    Returns:
        (M,) bool, which rows are good; their vectors, (K, D) float32, finite, C-contiguous, in the order wanted; and
        the other M - K rows, each with the first rule it breaks: index in range, same video_id, finite values. A shard
        that is not a matrix of D real columns loses all M rows.
    """
    nothing = np.zeros((0, expected_dim), np.float32)
    shape = shard.vectors.shape
    if shard.vectors.ndim != _MATRIX or shape[1] != expected_dim:
        reason = Reason.WRONG_SHAPE if shard.vectors.ndim != _MATRIX else Reason.WRONG_WIDTH
        bad = BadVectorError(reason, f"expected vectors of shape (n, {expected_dim}), got {shape}")
        return np.zeros(len(video_ids), np.bool_), nothing, quarantine_all(video_ids, shard.where, bad)

    n = len(shard.video_ids)
    in_range = (shard_idx >= 0) & (shard_idx < n)
    safe_idx = np.where(in_range, shard_idx, 0)
    found = shard.video_ids[safe_idx].astype(object) if n else np.full(len(video_ids), None, dtype=object)
    ok: NDArray[np.bool_] = in_range & (found == video_ids)
    try:
        vectors = as_float32(shard.vectors[shard_idx[ok]])  # (K, D)
    except BadVectorError as bad:
        return np.zeros(len(video_ids), np.bool_), nothing, quarantine_all(video_ids, shard.where, bad)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        vectors = vectors[finite]
        ok[ok] = finite

    quarantined = []
    for row in np.flatnonzero(~ok):
        if not in_range[row]:
            reason, detail = Reason.INDEX_OUT_OF_RANGE, f"expected shard_idx from 0 to {n - 1}, got {shard_idx[row]}"
        elif found[row] != video_ids[row]:
            reason, detail = Reason.OTHER_VIDEO, f"expected the vector of {video_ids[row]}, got that of {found[row]}"
        else:
            reason, detail = Reason.NOT_FINITE, "expected finite values, got NaN or infinity in float32"
        quarantined.append(Quarantined(video_ids[row], shard.where, reason, detail))
    return ok, vectors, quarantined


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(f"{name}.npy")
    except KeyError as error:
        raise BadVectorError(
            Reason.MISSING_MEMBER, f"expected the member {name}, got {', '.join(archive.namelist()) or 'none'}"
        ) from error


def _as_text(ids: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> NDArray[np.str_]:
    """Video ids as text: numpy text, or bytes that are UTF-8."""
    try:
        if ids.dtype.kind == "S":
            return np.strings.decode(ids.astype(np.bytes_), "utf-8")
        if ids.dtype.kind == "U":
            return ids.astype(np.str_)
    except UnicodeDecodeError as error:
        raise BadVectorError(Reason.INCONSISTENT_SHARD, f"expected UTF-8 video_ids, got {error}") from error
    raise BadVectorError(Reason.UNSUPPORTED_TYPE, f"expected video_ids as text, got {ids.dtype}")
