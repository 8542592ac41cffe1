"""Features that say the same kind of thing, and so are judged together."""

from collections.abc import Mapping
from enum import StrEnum


class Block(StrEnum):
    """A block of numeric features; each category is a block of its own."""

    CHANNEL = "channel"
    TIMING = "timing"
    TEXT_STATISTICS = "text_statistics"
    OTHER = "other_metadata"


_BY_PREFIX = {
    "channel_": Block.CHANNEL,
    "published_": Block.TIMING,
    "title_": Block.TEXT_STATISTICS,
    "description_": Block.TEXT_STATISTICS,
    "emoji_": Block.TEXT_STATISTICS,
    "hashtag_": Block.TEXT_STATISTICS,
    "has_": Block.TEXT_STATISTICS,
    "shorts_by_hashtag": Block.TEXT_STATISTICS,
}


def block_of(name: str, computed: Mapping[str, Block]) -> Block:
    """The block of a numeric feature, by its name.

    Args:
        name: of the column.
        computed: the blocks of the features that are not read but computed.
    """
    if name in computed:
        return computed[name]
    return next((block for prefix, block in _BY_PREFIX.items() if name.startswith(prefix)), Block.OTHER)
