"""Which row of which shard holds which capture of a made-up video.

Dates are the days on which upstream fused a batch; part names start again at 0000 under each date. A re-captured video
has an older row under an earlier date, and the row that counts under a later one.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from clipfarm_tasks.sample.world import DAY_S, World, stream

DATES = ("2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04")


@dataclass(frozen=True)
class Shard:
    """Rows of one shard.

    Attributes:
        date: day it was written, YYYY-MM-DD.
        part: number within the date.
        videos: (n,) int64 positions in the world.
        older: (n,) whether the row is a superseded capture.
        captured_at: (n,) ISO 8601 text, UTC.
    """

    date: str
    part: int
    videos: NDArray[np.int64]
    older: NDArray[np.bool_]
    captured_at: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.videos)


def plan_shards(world: World) -> Iterator[Shard]:
    """Every shard, by date and part; each video once, a re-captured one twice."""
    rng = stream(world.params, "shards")
    n = world.params.videos
    older_date = rng.integers(0, len(DATES) - 1, n)
    spread = rng.integers(0, len(DATES), n)
    later = older_date + 1 + spread % (len(DATES) - 1 - older_date)
    current_date = np.where(world.recaptured, later, spread)
    second = rng.integers(0, DAY_S, (2, n))
    for index, day in enumerate(DATES):
        superseded = np.flatnonzero(world.recaptured & (older_date == index))
        current = np.flatnonzero(current_date == index)
        videos = np.concatenate([superseded, current])
        older = np.arange(len(videos)) < len(superseded)
        order = rng.permutation(len(videos))
        videos, older = videos[order], older[order]
        captured = _iso(day, np.where(older, second[0, videos], second[1, videos]))
        for part, rows in enumerate(_parts(world, len(videos))):
            yield Shard(day, part, videos[rows], older[rows], captured[rows])


def _parts(world: World, rows: int) -> Iterator[slice]:
    size = max(world.params.min_shard_rows, -(-rows // world.params.max_parts))
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def _iso(day: str, seconds: NDArray[np.int64]) -> NDArray[np.str_]:
    start = date.fromisoformat(day).isoformat()
    times = [f"{start}T{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}+00:00" for s in seconds.tolist()]
    return np.array(times, dtype="U25")


def source_hash(video_id: str, *, older: bool) -> str:
    """sha256 (hex) that stands for the content a fused row was made from; another one for the older capture."""
    return hashlib.sha256(f"{video_id}/{'older' if older else 'current'}".encode()).hexdigest()
