"""Features of set ``v3`` that follow from the cells of one row alone.

Training and serving compute them by these functions, so that a feature means the same to both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipfarm_tasks.data.cells import UNDECODABLE
from clipfarm_tasks.data.feature_blocks import Block

F64 = NDArray[np.float64]

_WORD, _UPPER_CASE, _NON_ASCII = r"[^\s,]+", r"\p{Lu}", r"[^\x00-\x7f]"
_DAY = np.timedelta64(1, "D")


def text_statistics(name: str, texts: pa.Array) -> dict[str, pa.Array]:
    """The number of words of (N,) texts, and the shares of their characters in upper case and outside of ASCII.

    Args:
        name: one of `TEXTS`; ``<name>_words``, ``<name>_uppercase`` and ``<name>_non_ascii`` are computed.
        texts: (N,) string; null where missing, `UNDECODABLE` where unreadable.

    Returns:
        (N,) float64 by column: null where missing, NaN where unreadable; shares are 0 to 1.
    """
    characters = pc.cast(pc.utf8_length(texts), pa.float64())
    words, upper_case, non_ascii = (
        pc.cast(pc.count_substring_regex(texts, pattern), pa.float64()) for pattern in (_WORD, _UPPER_CASE, _NON_ASCII)
    )
    found = (words, pc.divide(upper_case, characters), pc.divide(non_ascii, characters))
    unreadable = pc.equal(texts, UNDECODABLE)
    return {
        column: pc.if_else(unreadable, float("nan"), values) for column, values in zip(TEXTS[name], found, strict=True)
    }


def log_ratio(counts: F64, per: F64) -> F64:
    """(N,) log1p of counts less log1p of others; a negative count is 0, and NaN where either is missing."""
    ratio: F64 = np.log1p(np.maximum(counts, 0.0)) - np.log1p(np.maximum(per, 0.0))
    return ratio


def _hour_angle(published_at: NDArray[np.datetime64]) -> F64:
    """(N,) time of day (UTC) as an angle, so that minutes before midnight are near those after it; NaN of NaT."""
    angle: F64 = 2 * np.pi * ((published_at - published_at.astype("datetime64[D]")) / _DAY)
    return angle


def _over(width: F64, height: F64) -> F64:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: F64 = np.where(height > 0, width / height, np.nan)
    return ratio


@dataclass(frozen=True)
class Computed:
    """A feature that is computed from other columns of its row.

    Attributes:
        needs: the columns, all of which the file must have.
        compute: (N,) float64, NaN where missing, from these columns: numbers, or times.
        block: the features it is judged with.
    """

    needs: tuple[str, ...]
    compute: Callable[..., Any]
    block: Block = Block.CHANNEL


TEXTS = {
    name: tuple(f"{name}_{what}" for what in ("words", "uppercase", "non_ascii")) for name in ("title", "description")
}
"""What is counted in each text column."""

COMPUTED = {
    "subscribers_over_videos": Computed(("channel_subscriber_count", "channel_video_count"), log_ratio),
    "channel_views_over_videos": Computed(("channel_view_count", "channel_video_count"), log_ratio),
    "channel_views_over_subscribers": Computed(("channel_view_count", "channel_subscriber_count"), log_ratio),
    "channel_diggs_over_videos": Computed(("channel_digg_count", "channel_video_count"), log_ratio),
    "channel_views_over_diggs": Computed(("channel_view_count", "channel_digg_count"), log_ratio),
    "subscribers_over_following": Computed(("channel_subscriber_count", "channel_following_count"), log_ratio),
    "friends_over_following": Computed(("channel_friend_count", "channel_following_count"), log_ratio),
    "videos_over_channel_age": Computed(("channel_video_count", "channel_age_days"), log_ratio),
    "published_hour_sin": Computed(("published_at",), lambda times: np.sin(_hour_angle(times)), Block.TIMING),
    "published_hour_cos": Computed(("published_at",), lambda times: np.cos(_hour_angle(times)), Block.TIMING),
    "thumb_pixels": Computed(("thumb_width", "thumb_height"), np.multiply, Block.OTHER),
    "thumb_width_over_height": Computed(("thumb_width", "thumb_height"), _over, Block.OTHER),
}
"""What is computed from numbers and times: ratios of the channel's counts, the time of day, the thumbnail's shape."""

NAMES = (*COMPUTED, *(column for columns in TEXTS.values() for column in columns))
"""Every feature that ``v3`` computes from the cells of its row."""

LEARNT = {
    "text_neighbours": (
        "text_neighbours_5",
        "text_neighbours_20",
        "text_neighbours_50",
        "text_neighbours_similarity",
    ),
    "creator_history": ("creator_labels", "creator_mean", "creator_days_since_label"),
}
"""What ``v3`` learns from other rows, by block: a model computes it from the rows it was fitted on, see
`clipfarm_tasks.models.learnt_features`."""

BLOCKS = {name: one.block for name, one in COMPUTED.items()} | {
    column: Block.TEXT_STATISTICS for columns in TEXTS.values() for column in columns
}
"""The block of each of them."""
