"""Probe for videos that are in two parts: under one id, or as twins, posts whose vectors are all equal."""

import hashlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clipfarm_tasks.evaluation.leakage_report import LeakageFinding, Probe, finding

MAX_TWINS = 0.01
"""Largest share of val or test that may have a twin in an earlier part: people do post things again.

Of 2,800 real posts three are twins; the same error on 1 % of the rows hardly moves a metric.
"""

_BLOCK_ROWS = 1024
_EARLIER = {"val": ("train",), "test": ("train", "val")}

F32 = NDArray[np.float32]


def repeated_ids(video_ids: NDArray[np.object_], split: NDArray[np.object_]) -> LeakageFinding:
    """A leak if a video is in more than one part, or twice in one.

    Args:
        video_ids: (N,) text.
        split: (N,) text: train, val or test.
    """
    found = pd.DataFrame({"id": video_ids, "part": split})
    repeated = found[found["id"].duplicated(keep=False)].groupby("id")["part"].agg(" and ".join)
    objects = list(repeated.items())
    return finding(
        Probe.REPEATED_IDS,
        len(objects),
        0,
        "every video once and in one part",
        "clear split_videos with downstream; if it happens again, report it: overrule by leakage_probes = report",
        objects,
    )


def twins(video_ids: NDArray[np.object_], split: NDArray[np.object_], vectors: tuple[F32, ...]) -> LeakageFinding:
    """A leak if more than `MAX_TWINS` of val or of test have a twin in an earlier part; fewer, or one alone, are noted.

    A model knows the label of such a video's twin. Test is later than val, and val than train. A modality that both
    lack (zeros) is equal; a video of zeros alone has no twin, because nothing is known of it.

    Args:
        video_ids: (N,) text.
        split: (N,) text: train, val or test.
        vectors: (N, D) float32 of each modality; they are read in blocks of rows.
    """
    digests, known = _row_digests(vectors)
    shares, objects, sizes = {}, [], []
    for part, earlier in _EARLIER.items():
        inside = split == part
        found = inside & known & np.isin(digests, digests[np.isin(split, earlier) & known])
        sizes.append(int(inside.sum()))
        shares[part] = float(found.sum() / max(inside.sum(), 1))
        objects += [(name, "") for name in video_ids[found]]
    return finding(
        Probe.TWINS,
        max(shares.values()),
        max(MAX_TWINS, 1 / max(min(sizes), 1)),
        f"at most {MAX_TWINS:g} of val and of test, or one video, to have all vectors equal to those of a video of an "
        "earlier part",
        "post each video once in the metadata, or overrule by leakage_probes = report",
        objects,
    )


def _row_digests(vectors: tuple[F32, ...]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """(N,) 64 bits of a hash of each row's vectors, equal for equal ones; (N,) whether any of them is not zero."""
    n = len(vectors[0])
    digests, known = np.empty(n, np.uint64), np.empty(n, np.bool_)
    for start in range(0, n, _BLOCK_ROWS):
        # 0 is added because -0.0 equals 0.0 in all but its bytes.
        block = np.hstack([modality[start : start + _BLOCK_ROWS] + np.float32(0) for modality in vectors])
        rows = slice(start, start + len(block))
        known[rows] = block.any(axis=1)
        digests[rows] = [int.from_bytes(hashlib.blake2b(row, digest_size=8).digest()) for row in block]
    return digests, known
