"""Which rows the made-up metadata CSV has: one per video, horizon and capture, in the order upstream appended them."""

from dataclasses import dataclass

import numpy as np

from clipfarm_tasks.families import Horizon
from clipfarm_tasks.sample.world import DAY_S, HOUR_S, I64, Bool, World, stream

_TOO_YOUNG = 0.04
_UNLABELLED = 0.005


@dataclass(frozen=True)
class Captures:
    """R rows; each array is (R,).

    Attributes:
        video: position of the video.
        horizon: days.
        captured_s: Unix time of the capture, seconds.
        views: views of the label.
        labelled: whether the label is known.
        latest: whether no later capture of this video and horizon exists.
    """

    video: I64
    horizon: I64
    captured_s: I64
    views: I64
    labelled: Bool
    latest: Bool

    def __len__(self) -> int:
        return len(self.video)


def make_captures(world: World) -> Captures:
    """Every capture. Some videos are too young for 30 days; re-captured ones have one or two older rows per horizon.

    An older capture counted fewer views, yet never fewer at 30 days than the latest at 7.
    """
    rng = stream(world.params, "captures")
    n = world.params.videos
    old_enough = rng.random(n) >= _TOO_YOUNG
    parts = []
    for horizon in Horizon:
        videos = np.arange(n) if horizon is Horizon.D7 else np.flatnonzero(old_enough)
        older = np.repeat(videos[world.recaptured[videos]], rng.integers(1, 3, int(world.recaptured[videos].sum())))
        rows = np.concatenate([videos, older])
        latest = np.arange(len(rows)) < len(videos)
        hours = np.where(latest, rng.uniform(14.0, 23.0, len(rows)), rng.uniform(0.0, 13.0, len(rows)))
        floor = np.zeros(n, dtype=np.int64) if horizon is Horizon.D7 else world.views[Horizon.D7]
        gained = world.views[horizon][rows] - floor[rows]
        seen = np.where(latest, 1.0, rng.uniform(0.8, 0.99, len(rows)))
        parts.append(
            Captures(
                video=rows,
                horizon=np.full(len(rows), int(horizon)),
                captured_s=world.published_s[rows] + int(horizon) * DAY_S + (hours * HOUR_S).astype(np.int64),
                views=floor[rows] + np.floor(gained * seen).astype(np.int64),
                labelled=rng.random(len(rows)) >= _UNLABELLED,
                latest=latest,
            )
        )
    return _appended_daily(parts, rng)


def _appended_daily(parts: list[Captures], rng: np.random.Generator) -> Captures:
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Captures.__dataclass_fields__}
    day = columns["captured_s"] // DAY_S
    order = np.lexsort((rng.random(len(day)), day))
    return Captures(**{name: values[order] for name, values in columns.items()})
