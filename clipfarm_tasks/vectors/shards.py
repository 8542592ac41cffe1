"""Fused vectors from the bytes of one shard: every wanted row at once, each checked against the shard's own ids."""

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipfarm_tasks.vectors.npy import F32, WIDEST_NUMBER, Array, as_float32, parse_npy
from clipfarm_tasks.vectors.quarantine import BadVectorError, Quarantined, Reason, quarantine_all

_MATRIX = 2
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what numpy writes; Python inflates the others without a bound
_UNREADABLE_ZIP = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(EOFError, OSError, NotImplementedError, OverflowError, RuntimeError, ValueError),
)
_LARGEST = 4 * 2**30
_DIRECTORY_BYTES = 64 * 2**10
_SLACK = 2**20
_ROW_BYTES = 4096  # for a row's id, capture time and whatever else upstream adds
_ANY_UNPACKED = 16 * 2**20
_RATIO = 32
_SURROGATES = (0xD800, 0xDFFF)
_LAST_CHARACTER = 0x10FFFF


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
    vectors: Array


def largest_shard(rows: int | None, width: int) -> int:
    """Bytes that a shard of so many rows may have, packed or not; None: of any number of rows."""
    return _LARGEST if rows is None else min(_LARGEST, _SLACK + rows * (WIDEST_NUMBER * width + _ROW_BYTES))


def decode_shard(body: bytes, where: str, largest: int | None = None) -> Shard:
    """Read the two members of an ``.npz`` that matter, each once; checksums are verified, pickles never loaded.

    Args:
        body: the object.
        where: its key.
        largest: bytes that each of the two may have unpacked, see `largest_shard`. Default: 32 times those of the
            object, or 16 MiB if that is more.

    Raises:
        BadVectorError: empty, not a zip, cut off, or a member is missing, pickled, too large or unlike the other.
    """
    if not body:
        raise BadVectorError(Reason.EMPTY_OBJECT, "expected an .npz shard, got 0 bytes")
    limit = max(_ANY_UNPACKED, _RATIO * len(body)) if largest is None else largest
    try:
        _check_directory(body)
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            members = {name: _read_member(archive, name, limit) for name in ("video_ids", "vectors")}
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


def _check_directory(body: bytes) -> None:
    """Refuse an archive of very many members before all of them are listed in memory."""
    end = body.rfind(b"PK\x05\x06")
    size = int.from_bytes(body[end + 12 : end + 16], "little")
    if end >= 0 and size > _DIRECTORY_BYTES:
        raise BadVectorError(
            Reason.OVERSIZED, f"expected an archive's directory of at most {_DIRECTORY_BYTES} bytes, got {size}"
        )


def _read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    file_name, names = f"{name}.npy", archive.namelist()
    if names.count(file_name) != 1:
        reason = Reason.INCONSISTENT_SHARD if file_name in names else Reason.MISSING_MEMBER
        raise BadVectorError(reason, f"expected one member {name}, got {', '.join(names)[:200] or 'none'}")
    member = archive.getinfo(file_name)
    if member.compress_type not in _PLAIN or member.flag_bits & 1:
        raise BadVectorError(
            Reason.UNSUPPORTED_TYPE,
            f"expected {name} stored or deflated, got compression method {member.compress_type}"
            f"{' and a password' if member.flag_bits & 1 else ''}",
        )
    if member.file_size > limit:
        raise BadVectorError(Reason.OVERSIZED, f"expected at most {limit} bytes of {name}, got {member.file_size}")
    # A size that is asked for bounds what is unpacked, also where the archive states less than is in it.
    with archive.open(member) as stream:
        return stream.read(member.file_size)


def _as_text(ids: Array) -> NDArray[np.str_]:
    """Video ids as text: numpy text, bytes that are UTF-8, or whole numbers in decimal."""
    try:
        if ids.dtype.kind == "S":
            return np.strings.decode(ids.astype(np.bytes_), "utf-8")
    except UnicodeDecodeError as error:
        raise BadVectorError(Reason.INCONSISTENT_SHARD, f"expected UTF-8 video_ids, got {error}") from error
    if ids.dtype.kind == "f":
        raise BadVectorError(Reason.UNSUPPORTED_TYPE, f"expected video_ids as text or whole numbers, got {ids.dtype}")
    texts = ids.astype(np.str_)
    texts = np.ascontiguousarray(texts, texts.dtype.newbyteorder("="))
    points = texts.view(np.uint32)
    if ((points > _LAST_CHARACTER) | ((points >= _SURROGATES[0]) & (points <= _SURROGATES[1]))).any():
        raise BadVectorError(Reason.INCONSISTENT_SHARD, "expected video_ids of Unicode characters, got others")
    return texts
