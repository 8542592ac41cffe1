"""From the objects of a video's three modalities to one row of the modality table, by the rules for missing ones."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipfarm_tasks.data.embeddings import decode_npy, fit_text
from clipfarm_tasks.data.quarantine import BadVectorError, Quarantined, Reason
from clipfarm_tasks.families import Modality

F32 = NDArray[np.float32]
_REQUIRED = (Modality.VIDEO, Modality.AUDIO)


@dataclass(frozen=True)
class ModalityRows:
    """N usable videos.

    Attributes:
        positions: (N,) int64, which of the given videos these are.
        text_present: (N,) int8, 1 where a text vector was found.
        vectors: by modality, (N, width) float32; text is zeros where ``text_present`` is 0.
        quarantined: the videos left out, with reasons.
    """

    positions: NDArray[np.int64]
    text_present: NDArray[np.int8]
    vectors: dict[Modality, F32]
    quarantined: list[Quarantined]


def assemble(
    video_ids: list[str],
    keys: Mapping[Modality, list[str]],
    bodies: Mapping[str, bytes | None],
    widths: Mapping[Modality, int],
) -> ModalityRows:
    """Decode and check the vectors of some videos.

    A missing video or audio vector leaves the video out. A missing text vector (an empty key, or an object that is not
    in ``bodies``) becomes zeros with ``text_present`` 0; one of another width is padded with zeros or cut.

    Args:
        video_ids: the videos.
        keys: by modality, the object key of each video; an empty text key means "no text".
        bodies: object contents by key; None or absent means that the object does not exist.
        widths: declared width of each modality; one that is absent is the most frequent width decoded, for text without
            any vector the video's.
    """
    bad: dict[int, Quarantined] = {}
    decoded = {modality: _decoded(modality, video_ids, keys[modality], bodies, bad) for modality in Modality}
    width = {modality: widths.get(modality) or _most_frequent(decoded[modality]) for modality in Modality}
    # No text yet and no declared width: a column as wide as the video's, so that the first texts are not cut away.
    width = {modality: columns or width[Modality.VIDEO] or 1 for modality, columns in width.items()}
    for modality in _REQUIRED:
        for row, vector in decoded[modality].items():
            if len(vector) != width[modality]:
                detail = f"expected {modality} width {width[modality]}, got {len(vector)}"
                bad.setdefault(row, Quarantined(video_ids[row], keys[modality][row], Reason.WRONG_WIDTH, detail))
    good = [row for row in range(len(video_ids)) if row not in bad]
    text = decoded[Modality.TEXT]
    present = np.array([row in text for row in good], dtype=np.int8)
    matrices = {modality: np.zeros((len(good), width[modality]), dtype=np.float32) for modality in Modality}
    for target, row in enumerate(good):
        for modality in _REQUIRED:
            matrices[modality][target] = decoded[modality][row]
        if row in text:
            matrices[Modality.TEXT][target] = fit_text(text[row], width[Modality.TEXT])
    return ModalityRows(np.array(good, dtype=np.int64), present, matrices, [bad[row] for row in sorted(bad)])


def _decoded(
    modality: Modality,
    video_ids: list[str],
    keys: list[str],
    bodies: Mapping[str, bytes | None],
    bad: dict[int, Quarantined],
) -> dict[int, F32]:
    """Vectors of one modality by row; what is unusable, or missing although required, goes to ``bad``."""
    found: dict[int, F32] = {}
    for row, (video_id, key) in enumerate(zip(video_ids, keys, strict=True)):
        body = bodies.get(key) if key else None
        if body is None:
            if modality in _REQUIRED:
                detail = f"expected the {modality} vector, got no object"
                bad.setdefault(row, Quarantined(video_id, key, Reason.MISSING_OBJECT, detail))
            continue
        try:
            found[row] = decode_npy(body)
        except BadVectorError as error:
            bad.setdefault(row, Quarantined(video_id, key, error.reason, error.detail))
    return found


def _most_frequent(vectors: Mapping[int, F32]) -> int:
    """Most frequent width; the larger one on a tie; 0 when there is no vector at all."""
    counts = Counter(len(vector) for vector in vectors.values())
    return max(counts, key=lambda width: (counts[width], width), default=0)
