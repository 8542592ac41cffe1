"""The metadata columns upstream is known to write, by what they hold."""

from enum import StrEnum

PUBLISHED = ("published_hour", "published_weekday")


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
KNOWN: dict[str, Kind] = {name: kind for kind, names in _BY_KIND.items() for name in names.split()}

_DROPPED_ENDINGS = ("id", "ids", "uuid", "url", "urls", "uri", "hash", "at", "timestamp")


def names_no_feature(name: str) -> bool:
    """Whether an unknown column's name says identifier, address or timestamp (its last ``_`` token decides)."""
    return not name or name.lower().rsplit("_", 1)[-1] in _DROPPED_ENDINGS
