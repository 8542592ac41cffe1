"""From the objects of a video's three modalities to one row of the modality table, by the rules for missing ones."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Modality
from clipfarm_tasks.vectors.npy import decode_npy
from clipfarm_tasks.vectors.quarantine import BadVectorError, Quarantined, Reason

F32 = NDArray[np.float32]
Body = bytes | BadVectorError | None
REQUIRED = (Modality.VIDEO, Modality.AUDIO)


@dataclass(frozen=True)
class ModalityRows:
    """N videos, in the order they were given.

    Attributes:
        text_present: (N,) int8, 1 where a text vector was found.
        vectors: by modality, (N, width) float32; text is zeros where ``text_present`` is 0, and a video that is not
            usable is zeros everywhere.
        bad: the videos that are not usable, by row, each with the first rule it breaks.
    """

    text_present: NDArray[np.int8]
    vectors: dict[Modality, F32]
    bad: dict[int, Quarantined]


@dataclass(frozen=True)
class HeldVectors:
    """Vectors that the table holds already: (M,) int64 rows, and (M, width) float32."""

    rows: NDArray[np.int64]
    vectors: F32


def assemble(
    video_ids: list[str],
    keys: Mapping[Modality, list[str]],
    bodies: Mapping[str, Body],
    widths: Mapping[Modality, int],
    held: Mapping[Modality, HeldVectors],
) -> ModalityRows:
    """Decode and check the vectors of some videos, each into its row.

    A missing video or audio vector makes the video unusable. A missing text vector (an empty key, or no object) becomes
    zeros with ``text_present`` 0; one of another width is padded with zeros or cut.

    Args:
        video_ids: the videos.
        keys: by modality, the object key of each video; an empty text key means "no text".
        bodies: object contents by key, None for one that does not exist, an error for one that was judged unread. One
            may be absent if it was not read because a required object of its video cannot be used.
        widths: width of each modality, all of them; see `widths_of`.
        held: by modality, the rows whose vector need not be decoded; their bodies are not looked at.
    """
    count = len(video_ids)
    vectors = {modality: np.zeros((count, widths[modality]), np.float32) for modality in Modality}
    text_present = np.zeros(count, np.int8)
    bad = _without_required(video_ids, keys, bodies)
    for modality, matrix in vectors.items():
        rows = held[modality].rows
        if rows.size:
            matrix[rows] = held[modality].vectors
        done = {*rows.tolist(), *bad}
        if modality is Modality.TEXT:
            text_present[rows] = 1
        for row, key in enumerate(keys[modality]):
            if row in done:
                continue
            try:
                body = bodies[key] if key else None
                if body is not None:
                    vector = _vector(body, modality, matrix.shape[1])
                    matrix[row, : len(vector)] = vector
                    text_present[row] = modality is Modality.TEXT
            except BadVectorError as error:
                bad[row] = Quarantined(video_ids[row], key, error.reason, error.detail)
    unusable = list(bad)
    text_present[unusable] = 0
    for matrix in vectors.values():
        matrix[unusable] = 0.0
    return ModalityRows(text_present, vectors, bad)


def widths_of(keys: Mapping[Modality, list[str]], bodies: Mapping[str, Body]) -> dict[Modality, int]:
    """The most frequent width of each modality's readable vectors, for where nobody declared one.

    The larger one on a tie. Without any text yet, a text column as wide as the video's, so that the first texts are not
    cut away.

    Raises:
        DataError: no video or no audio vector is readable.
    """
    widths = {modality: _most_frequent([bodies.get(key) for key in keys[modality]]) for modality in Modality}
    for modality in REQUIRED:
        if not widths[modality]:
            raise DataError(
                f"expected a readable {modality} vector to learn the width from, got none of the first "
                f"{len(keys[modality])} videos: declare the widths in schema.json, or tell upstream"
            )
    return {modality: width or widths[Modality.VIDEO] for modality, width in widths.items()}


def _most_frequent(bodies: list[Body]) -> int:
    counts = Counter(_width(body) for body in bodies if body is not None)
    del counts[0]
    return max(counts, key=lambda width: (counts[width], width), default=0)


def _width(body: bytes | BadVectorError) -> int:
    """Width of a readable vector, else 0."""
    try:
        return len(_decoded(body))
    except BadVectorError:
        return 0


def _decoded(body: bytes | BadVectorError) -> F32:
    if isinstance(body, BadVectorError):
        raise body
    return decode_npy(body)


def _without_required(
    video_ids: list[str], keys: Mapping[Modality, list[str]], bodies: Mapping[str, Body]
) -> dict[int, Quarantined]:
    bad: dict[int, Quarantined] = {}
    for modality in REQUIRED:
        missing = BadVectorError(Reason.MISSING_OBJECT, f"expected the {modality} vector, got no object")
        for row, key in enumerate(keys[modality]):
            body = bodies.get(key, b"") if key else None
            error = missing if body is None else body
            if isinstance(error, BadVectorError):
                bad.setdefault(row, Quarantined(video_ids[row], key, error.reason, error.detail))
    return bad


def _vector(body: bytes | BadVectorError, modality: Modality, width: int) -> F32:
    """One vector, at most ``width`` long.

    Raises:
        BadVectorError: unreadable, or a required one of another width.
    """
    vector = _decoded(body)
    if modality in REQUIRED and len(vector) != width:
        raise BadVectorError(Reason.WRONG_WIDTH, f"expected {modality} width {width}, got {len(vector)}")
    return vector[:width]
