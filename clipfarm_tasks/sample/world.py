"""A made-up world of short videos for demos and tests: who posted what, when, and how many views it got.

Channels have a latent quality, videos have latent content factors, and both move the views, whose noise has heavy
tails. Columns and vectors are derived from this world in `clipfarm_tasks.sample.metadata` and
`clipfarm_tasks.sample.vectors`. It says nothing
about the quality of models on real data.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import Horizon, Modality

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

FACTORS = 12
MIN_VIDEOS = 20
HOUR_S = 3600
DAY_S = 24 * HOUR_S
FIRST_PUBLISHED_S = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp())
PUBLISHING_DAYS = 26

_ID_ALPHABET = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))
_ID_LENGTH = 11
_MISSING_FROM = 40


@dataclass(frozen=True)
class SyntheticParams:
    """Size and seed of the world.

    Attributes:
        videos: number of videos, at least 20.
        seed: every value follows from it.
        width: width of each modality's vectors, in columns.
        without_text: fraction of videos that never had text (0 to 1).
        recaptured: fraction of videos with an older manifest row and older metadata rows (0 to 1).
        text_objects_lost: fraction of the text vectors that are declared but absent (0 to 1).
        other_objects_lost: fraction of videos whose video or audio vector is absent (0 to 1).
        max_parts: most shards under one date.
        min_shard_rows: rows a shard has at least before a date gets another one.

    Raises:
        ConfigError: fewer than 20 videos, a negative seed, or a width below 1.
    """

    videos: int = 2000
    seed: int = 7
    width: int = 768
    without_text: float = 0.12
    recaptured: float = 0.08
    text_objects_lost: float = 0.005
    other_objects_lost: float = 0.002
    max_parts: int = 4
    min_shard_rows: int = 128

    def __post_init__(self) -> None:
        """Check the limits."""
        for name, least in (("videos", MIN_VIDEOS), ("seed", 0), ("width", 1), ("max_parts", 1), ("min_shard_rows", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"expected {name} to be at least {least}, got {getattr(self, name)}, in the sample")


@dataclass(frozen=True)
class Channels:
    """C channels; each array is (C,)."""

    quality: F64
    subscribers: I64
    video_count: I64
    total_views: I64
    age_days: I64
    median_views: I64
    country: I64
    language: I64


@dataclass(frozen=True)
class World:
    """N videos of C channels; each array is (N,) unless told otherwise.

    Attributes:
        params: what it was made from.
        video_ids: 11 characters, unique, str.
        channels: the channels.
        channel: position of the video's channel.
        factors: (N, 12) latent content, standard normal.
        duration_s: seconds.
        published_s: Unix time of publication, seconds.
        hashtags: number of hashtags.
        text_present: whether the video has text.
        recaptured: whether older captures of it exist.
        lost: by modality, whether the vector's object is absent although upstream declared it.
        views: by horizon, views at that age; 30 days never below 7.
    """

    params: SyntheticParams
    video_ids: NDArray[np.str_]
    channels: Channels
    channel: I64
    factors: F64
    duration_s: I64
    published_s: I64
    hashtags: I64
    text_present: Bool
    recaptured: Bool
    lost: dict[Modality, Bool]
    views: dict[Horizon, I64]


def stream(params: SyntheticParams, name: str, *numbers: int) -> np.random.Generator:
    """An independent random stream of the world's seed, so that one part's draws never shift another's."""
    return np.random.default_rng([params.seed, *name.encode(), *numbers])


def make_world(params: SyntheticParams) -> World:
    """The world of these parameters; equal parameters give an equal world."""
    n = params.videos
    channels = _channels(params)
    rng = stream(params, "videos")
    popularity = rng.pareto(1.3, len(channels.quality)) + 0.2
    channel = rng.choice(len(channels.quality), size=n, p=popularity / popularity.sum())
    factors = rng.standard_normal((n, FACTORS))
    duration = np.clip(rng.lognormal(3.2, 0.6, n), 4, 180).astype(np.int64)
    published = FIRST_PUBLISHED_S + rng.integers(0, PUBLISHING_DAYS * DAY_S, n)
    hashtags = rng.poisson(2.5, n)
    text_present = rng.random(n) >= params.without_text
    return World(
        params=params,
        video_ids=_video_ids(rng, n),
        channels=channels,
        channel=channel,
        factors=factors,
        duration_s=duration,
        published_s=published,
        hashtags=hashtags,
        text_present=text_present,
        recaptured=rng.random(n) < params.recaptured,
        lost=_lost(params, text_present),
        views=_views(params, channels, channel, factors, duration, published),
    )


def _channels(params: SyntheticParams) -> Channels:
    rng = stream(params, "channels")
    count = max(10, params.videos // 8)
    quality = rng.standard_normal(count)
    subscribers = np.exp(8.5 + 1.5 * quality + 1.3 * rng.standard_normal(count))
    videos = np.exp(4.5 + 0.3 * quality + rng.standard_normal(count)) + 1
    typical_views = np.exp(5.0 + 1.1 * quality + 0.35 * np.log1p(subscribers) - 3.0 + 0.5 * rng.standard_normal(count))
    return Channels(
        quality=quality,
        subscribers=subscribers.astype(np.int64),
        video_count=videos.astype(np.int64),
        total_views=(videos * typical_views * rng.lognormal(0.8, 0.5, count)).astype(np.int64),
        age_days=rng.integers(30, 4500, count),
        median_views=typical_views.astype(np.int64),
        country=rng.zipf(1.6, count),
        language=rng.zipf(1.8, count),
    )


def _views(
    params: SyntheticParams, channels: Channels, channel: I64, factors: F64, duration: I64, published: I64
) -> dict[Horizon, I64]:
    """Log views: channel effect + content (with one interaction and one bend) + hour and length + Student-t noise."""
    rng = stream(params, "views")
    n = len(channel)
    hour = (published % DAY_S) / HOUR_S
    content = (
        0.55 * factors[:, 0]
        + 0.40 * factors[:, 1]
        + 0.30 * factors[:, 2]
        + 0.35 * factors[:, 3] * factors[:, 4]
        + 0.30 * np.maximum(factors[:, 5], 0.0)
    )
    reach = 0.35 * np.log1p(channels.subscribers[channel]) + 0.75 * channels.quality[channel]
    timing = 0.25 * np.sin((hour - 12.0) * np.pi / 12.0) - 0.15 * np.abs(np.log(duration / 25.0))
    noise = np.clip(rng.standard_t(5, n), -6.0, 6.0)
    log_views = 3.0 + reach + content + timing + 0.62 * noise
    week = np.floor(np.exp(np.clip(log_views, 0.0, 19.0)))
    growth = np.exp(-1.2 + 0.25 * factors[:, 1] + 0.6 * rng.standard_normal(n))
    month = week + np.floor(week * growth)
    return {Horizon.D7: week.astype(np.int64), Horizon.D30: month.astype(np.int64)}


def _video_ids(rng: np.random.Generator, n: int) -> NDArray[np.str_]:
    """(n,) unique ids: the last characters count, the others are random."""
    base = len(_ID_ALPHABET)
    letters = rng.integers(0, base, (n, _ID_LENGTH))
    number = np.arange(n)
    for place in range(1, _ID_LENGTH):
        if base ** (place - 1) > n:
            break
        letters[:, -place] = number // base ** (place - 1) % base
    rng.shuffle(letters)
    joined: NDArray[np.str_] = np.array(["".join(_ID_ALPHABET[row]) for row in letters])
    return joined


def _lost(params: SyntheticParams, text_present: Bool) -> dict[Modality, Bool]:
    rng = stream(params, "lost")
    n = len(text_present)
    with_text = rng.permutation(np.flatnonzero(text_present))
    others = rng.permutation(n)[: _count(params.other_objects_lost, n, n)]
    return {
        Modality.TEXT: _mask(n, with_text[: _count(params.text_objects_lost, len(with_text), n)]),
        Modality.VIDEO: _mask(n, others[0::2]),
        Modality.AUDIO: _mask(n, others[1::2]),
    }


def _count(fraction: float, of: int, videos: int) -> int:
    """Rounded, but at least 1 of 40 videos or more, so that small samples show the case too."""
    least = 1 if fraction > 0 and videos >= _MISSING_FROM else 0
    return max(least, round(fraction * of))


def _mask(n: int, positions: I64) -> Bool:
    mask = np.zeros(n, dtype=np.bool_)
    mask[positions] = True
    return mask
