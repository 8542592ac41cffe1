"""The metadata columns upstream is known to write, by what they hold."""

import re
from enum import StrEnum

from clipfarm_tasks.data.computed_features import NAMES as COMPUTED_NAMES
from clipfarm_tasks.families import VECTOR_COLUMN

PUBLISHED = ("published_hour", "published_weekday")
"""What every feature set computes from the time of publication."""


class Kind(StrEnum):
    """What a column holds, and so what becomes of it."""

    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    CATEGORICAL = "categorical"
    HIGH_CARD = "high_card"
    IDENTIFIER = "identifier"
    TIMESTAMP = "timestamp"
    TEXT = "text"
    LABEL = "label"
    LEAKAGE = "leakage"


_BY_KIND = {
    Kind.NUMERIC: """
        channel_description_length channel_subscriber_count channel_video_count channel_view_count channel_age_days
        channel_median_shorts_view_count title_length description_length emoji_count hashtag_count duration_seconds
        thumb_width thumb_height thumb_aspect_ratio published_hour published_weekday
    """,
    Kind.BOOLEAN: """
        channel_hidden_subscriber_count has_hashtags has_shorts_hashtag has_clickbait_words caption_available
        licensed_content is_vertical_thumb shorts_by_duration shorts_by_hashtag is_short embeddable madeForKids
        publicStatsViewable likes_hidden comments_disabled stats_hidden too_new_for_rates
    """,
    Kind.CATEGORICAL: "channel_country default_language default_audio_language query",
    Kind.HIGH_CARD: "channel_id channel_title",
    Kind.IDENTIFIER: "video_id url channel_custom_url thumbnail_url",
    Kind.TIMESTAMP: "captured_at published_at channel_created_at",
    Kind.TEXT: """
        category_type collector_version title description duration dimension definition projection topic_categories
        privacy_status upload_status license
    """,
    Kind.LABEL: "horizon_days horizon_view_count horizon_label_type",
    Kind.LEAKAGE: """
        view_count like_count comment_count views_per_day likes_per_day comments_per_day views_per_hour likes_per_view
        comments_per_view age_days virality_score
    """,
}
KNOWN: dict[str, Kind] = {name: kind for kind, names in _BY_KIND.items() for name in names.split()} | dict.fromkeys(
    COMPUTED_NAMES, Kind.NUMERIC
)

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def words_of(name: str) -> tuple[str, ...]:
    """The words of a column name in lower case: ``likeCount7d``, ``like.count:7 d`` -> like, count, 7, d."""
    return tuple(word.lower() for word in _WORD.findall(name))


_BY_WORDS = {words_of(name): kind for name, kind in KNOWN.items()}


def kind_of(name: str) -> Kind | None:
    """Kind of a known column, also where its words are written in another way (``viewCount``); None if unknown."""
    return _BY_WORDS.get(words_of(name))


_DROPPED_ENDING = re.compile("ids?|uu?id|guid|ur[li]s?|hash|at|timestamps?|ts|epoch|unix|date|datetime")
_ROW_NUMBER = re.compile(
    r"c \d+|unnamed( \d+)*|(index )?level \d+|((row|record|line|video) )?(index|idx)"
    r"|(row|rec|record|line|serial|sequence|seq)( (number|num|no|nr|n|id))?|row(number|num|no|nr|id)"
)
_EVENT_TIME = re.compile(r"(.* )?(captur|crawl|scrap|fetch|creat|publish|upload|post|updat)(e|ed|ion)? time")


def numbers_rows(name: str) -> bool:
    """Whether a column is somebody's row number: ``Unnamed: 0``, ``level_0``, ``__index_level_0__``, ``row_id``."""
    words = words_of(name)
    if all(map(str.isdecimal, words)):  # no Latin letter: a number or nothing, unless it is of another script
        return not any(map(str.isalpha, name))
    return kind_of(name) is None and _ROW_NUMBER.fullmatch(" ".join(words)) is not None


def names_no_feature(name: str) -> bool:
    """Whether an unknown column's name says identifier, address, time of an event, row number, or vector column."""
    words = words_of(name)
    ending = words and _DROPPED_ENDING.fullmatch(words[-1])
    event = ending or _EVENT_TIME.fullmatch(" ".join(words))
    return bool(event or VECTOR_COLUMN.fullmatch(name)) or numbers_rows(name)
