"""The made-up metadata CSV: every column seen in production, with its usual gaps and spellings."""

import io
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clipfarm_tasks.sample.captures import Captures, make_captures
from clipfarm_tasks.sample.columns import COLUMNS
from clipfarm_tasks.sample.text import make_texts
from clipfarm_tasks.sample.world import DAY_S, F64, HOUR_S, I64, Bool, World, stream

_COUNTRIES = ("US", "IN", "GB", "BR", "JP", "DE", "MX", "ID", "FR", "KR")
_LANGUAGES = ("en", "hi", "pt", "ja", "de", "es", "id", "fr", "ko", "en-GB")
_SPELLINGS = (("False", "True"), ("0", "1"), ("no", "yes"), ("false", "true"))
_SPELLING_SHARES = (0.7, 0.15, 0.1, 0.05)
_SHORT_S = 60

Column = NDArray[np.object_] | I64 | F64 | list[str]


def metadata_csv(world: World) -> bytes:
    """The CSV in UTF-8, quoted where needed, one row per capture, columns `COLUMNS`; equal worlds give equal bytes."""
    captures = make_captures(world)
    columns = {
        **_identity(world, captures),
        **_channel(world, captures),
        **_texts(world, captures),
        **_format(world, captures),
        **_counts(world, captures),
    }
    buffer = io.BytesIO()
    pd.DataFrame(columns)[list(COLUMNS)].to_csv(buffer, index=False, lineterminator="\n")
    return buffer.getvalue()


def _identity(world: World, rows: Captures) -> dict[str, Column]:
    ids = world.video_ids[rows.video]
    return {
        "video_id": list(ids),
        "url": [f"https://video.example/shorts/{video_id}" for video_id in ids],
        "category_type": ["shorts"] * len(rows),
        "collector_version": np.where(rows.captured_s // DAY_S % 7 == 0, "3.1.4", "3.2.0").astype(object),
        "captured_at": _iso(rows.captured_s, "+00:00"),
        "published_at": _iso(world.published_s[rows.video], "Z"),
        "horizon_days": rows.horizon,
    }


def _channel(world: World, rows: Captures) -> dict[str, Column]:
    rng = stream(world.params, "channel-columns")
    channel = world.channel[rows.video]
    c = world.channels
    count = len(c.quality)
    hidden = _some(rng, count, 0.03)[channel]
    described = rng.integers(0, 1000, count)
    growth = 1.0 + 0.0005 * rows.horizon
    created = world.published_s[rows.video] - c.age_days[channel] * DAY_S
    subscribers = np.floor(c.subscribers[channel] * growth)
    return {
        "channel_id": [f"UC{number:022d}" for number in channel],
        "channel_title": [f'Channel {number}, the "{_COUNTRIES[number % 10]}" one 🎬' for number in channel],
        "channel_custom_url": _gaps(rng, [f"@channel{number}" for number in channel], 0.05),
        "channel_country": _gaps(rng, _pick(_COUNTRIES, c.country[channel]), 0.15),
        "channel_created_at": _iso(created // DAY_S * DAY_S, "Z"),
        "channel_description_length": described[channel],
        "channel_subscriber_count": np.where(hidden, np.nan, subscribers),
        "channel_video_count": c.video_count[channel],
        "channel_view_count": np.floor(c.total_views[channel] * growth),
        "channel_hidden_subscriber_count": _spelled(rng, hidden),
        "channel_age_days": c.age_days[channel] + rows.horizon,
        "channel_median_shorts_view_count": _gaps(rng, c.median_views[channel], 0.25),
        "default_language": _gaps(rng, _pick(_LANGUAGES, c.language[channel]), 0.35),
        "default_audio_language": _gaps(rng, _pick(_LANGUAGES, c.language[channel]), 0.2),
    }


def _texts(world: World, rows: Captures) -> dict[str, Column]:
    rng = stream(world.params, "text-columns")
    texts = make_texts(world)
    video = rows.video.tolist()
    tags = world.hashtags[rows.video]
    shorts_tag = np.array(texts.shorts_hashtag)[rows.video]
    return {
        "query": _gaps(rng, [texts.query[i] for i in video], 0.01),
        "title": [texts.title[i] for i in video],
        "description": _gaps(rng, [texts.description[i] for i in video], 0.06),
        "title_length": np.array([len(texts.title[i]) for i in video]),
        "description_length": np.array([len(texts.description[i]) for i in video]),
        "emoji_count": _gaps(rng, np.array(texts.emoji_count)[rows.video], 0.02),
        "has_hashtags": _spelled(rng, tags > 0),
        "has_shorts_hashtag": _spelled(rng, shorts_tag),
        "shorts_by_hashtag": _spelled(rng, shorts_tag),
        "has_clickbait_words": _spelled(rng, np.array(texts.clickbait)[rows.video], gaps=0.02),
        "hashtag_count": tags,
    }


def _format(world: World, rows: Captures) -> dict[str, Column]:
    rng = stream(world.params, "format-columns")
    n = len(rows)
    seconds = world.duration_s[rows.video]
    vertical = _some(rng, world.params.videos, 0.93)[rows.video]
    constant = {
        "dimension": "2d",
        "projection": "rectangular",
        "privacy_status": "public",
        "upload_status": "processed",
    }
    return {
        "duration": [f"PT{s // 60}M{s % 60}S" if s >= _SHORT_S else f"PT{s}S" for s in seconds.tolist()],
        "duration_seconds": _gaps(rng, seconds, 0.01),
        **{name: [value] * n for name, value in constant.items()},
        "definition": np.where(_some(rng, n, 0.97), "hd", "sd").astype(object),
        "license": np.where(_some(rng, n, 0.98), "youtube", "creativeCommon").astype(object),
        "topic_categories": _gaps(rng, ['["Lifestyle", "Hobby"]'] * n, 0.3),
        "thumbnail_url": [f"https://img.example/{video_id}/hq.jpg" for video_id in world.video_ids[rows.video]],
        "thumb_width": np.where(vertical, 720, 1280),
        "thumb_height": np.where(vertical, 1280, 720),
        "thumb_aspect_ratio": np.where(vertical, 0.5625, 1.7778),
        "is_vertical_thumb": _spelled(rng, vertical),
        "caption_available": _spelled(rng, world.text_present[rows.video] & _some(rng, n, 0.6), gaps=0.01),
        "licensed_content": _spelled(rng, _some(rng, n, 0.2)),
        "shorts_by_duration": _spelled(rng, seconds <= _SHORT_S),
        "is_short": _spelled(rng, np.ones(n, dtype=np.bool_)),
        "embeddable": _spelled(rng, _some(rng, n, 0.99)),
        "madeForKids": _spelled(rng, _some(rng, n, 0.05)),
        "publicStatsViewable": _spelled(rng, _some(rng, n, 0.98)),
        "likes_hidden": _spelled(rng, _some(rng, n, 0.02)),
        "comments_disabled": _spelled(rng, _some(rng, n, 0.03)),
        "stats_hidden": _spelled(rng, np.zeros(n, dtype=np.bool_)),
        "too_new_for_rates": _spelled(rng, np.zeros(n, dtype=np.bool_)),
    }


def _counts(world: World, rows: Captures) -> dict[str, Column]:
    """The label, and the columns that know it: views at capture time and every rate of them."""
    rng = stream(world.params, "count-columns")
    n = len(rows)
    age = (rows.captured_s - world.published_s[rows.video]) / DAY_S
    views = np.floor(rows.views * (1.0 + 0.002 * rng.random(n)))
    likes = np.floor(views * rng.beta(4, 80, n))
    comments = np.floor(views * rng.beta(2, 400, n))
    shown = np.maximum(views, 1.0)
    return {
        "view_count": views,
        "like_count": _gaps(rng, likes, 0.02),
        "comment_count": _gaps(rng, comments, 0.03),
        "age_days": age.round(4),
        "views_per_day": (views / age).round(4),
        "likes_per_day": (likes / age).round(4),
        "comments_per_day": (comments / age).round(4),
        "likes_per_view": (likes / shown).round(6),
        "comments_per_view": (comments / shown).round(6),
        "views_per_hour": (views / age / (DAY_S / HOUR_S)).round(4),
        "virality_score": np.log1p(views / np.maximum(world.channels.subscribers[world.channel[rows.video]], 1)).round(
            6
        ),
        "horizon_view_count": np.where(rows.labelled, rows.views, np.nan),
        "horizon_label_type": np.where(rows.labelled, "views_at_age", "pending").astype(object),
    }


def _iso(seconds: I64, zone: str) -> list[str]:
    return [datetime.fromtimestamp(s, UTC).strftime("%Y-%m-%dT%H:%M:%S") + zone for s in seconds.tolist()]


def _pick(choices: tuple[str, ...], number: I64) -> list[str]:
    """Choices by Zipf-distributed numbers from 1; the tail shares the last choice."""
    return [choices[min(i, len(choices)) - 1] for i in number.tolist()]


def _some(rng: np.random.Generator, n: int, share: float) -> Bool:
    """(n,) bool, True for about that share of them (0 to 1)."""
    return rng.random(n) < share


def _gaps(rng: np.random.Generator, values: Column, share: float) -> NDArray[np.object_]:
    column = np.array(values, dtype=object)
    column[_some(rng, len(column), share)] = None
    return column


def _spelled(rng: np.random.Generator, values: Bool, gaps: float = 0.0) -> NDArray[np.object_]:
    """Booleans as text, each in one of the spellings that collectors have used."""
    spelling = rng.choice(len(_SPELLINGS), size=len(values), p=_SPELLING_SHARES)
    words = [_SPELLINGS[how][int(value)] for how, value in zip(spelling.tolist(), values.tolist(), strict=True)]
    return _gaps(rng, words, gaps)
