"""Vectors of the made-up videos: latent content projected to each modality plus noise, and their fusions.

Legend: n videos, W width of a modality.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from clipfarm_tasks.families import Modality, Strategy
from clipfarm_tasks.sample.world import F64, FACTORS, World, stream

F32 = NDArray[np.float32]
Vectors = Mapping[Modality, F32]

_NOISE = 0.6
_SEEN: dict[Modality, tuple[int, ...]] = {
    Modality.VIDEO: (0, 1, 3, 4, 5, 6, 7),
    Modality.AUDIO: (1, 4, 8, 9),
    Modality.TEXT: (0, 2, 3, 5, 10, 11),
}


def loadings(world: World, modality: Modality) -> F64:
    """(12, W) float64: how the modality shows the latent factors; zero rows for those it does not see."""
    weights = stream(world.params, f"loadings-{modality}").standard_normal((FACTORS, world.params.width))
    hidden = [factor for factor in range(FACTORS) if factor not in _SEEN[modality]]
    weights[hidden] = 0.0
    scaled: F64 = weights / np.sqrt(len(_SEEN[modality]))
    return scaled


def modality_vectors(world: World, videos: NDArray[np.int64], older: NDArray[np.bool_]) -> dict[Modality, F32]:
    """The three modalities' vectors of some videos.

    Args:
        world: the world.
        videos: (n,) int64 positions.
        older: (n,) whether the row is of an older capture, whose vector differs by its noise.

    Returns:
        (n, W) float32 by modality; zeros where a video has no text.
    """
    return {modality: _vectors(world, modality, videos, older) for modality in Modality}


def _vectors(world: World, modality: Modality, videos: NDArray[np.int64], older: NDArray[np.bool_]) -> F32:
    width = world.params.width
    noise = np.empty((len(videos), width), dtype=np.float32)
    for row, (video, version) in enumerate(zip(videos.tolist(), older.tolist(), strict=True)):
        stream(world.params, f"noise-{modality}", video, int(version)).standard_normal(dtype=np.float32, out=noise[row])
    vectors = (world.factors[videos] @ loadings(world, modality)).astype(np.float32) + np.float32(_NOISE) * noise
    if modality is Modality.TEXT:
        vectors[~world.text_present[videos]] = 0.0
    return vectors


def fuse(strategy: Strategy, vectors: Vectors, text_present: NDArray[np.bool_]) -> F32:
    """Fused vectors as upstream writes them.

    Args:
        strategy: concat, sum_pool or max_pool.
        vectors: (n, W) float32 by modality, zeros for absent text.
        text_present: (n,) bool, appended as the last column.

    Returns:
        concat (n, 3W + 1), [video | audio | text | mask]; the pools (n, W + 1), element-wise over all three modalities.
    """
    parts = [vectors[modality] for modality in (Modality.VIDEO, Modality.AUDIO, Modality.TEXT)]
    if strategy is Strategy.CONCAT:
        fused = np.hstack(parts)
    elif strategy is Strategy.SUM_POOL:
        fused = parts[0] + parts[1] + parts[2]
    else:
        fused = np.maximum(np.maximum(parts[0], parts[1]), parts[2])
    return np.hstack([fused, text_present.astype(np.float32)[:, None]])
