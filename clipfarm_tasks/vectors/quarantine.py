"""Rows whose vectors cannot be used: why, which, and how many a run accepts."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from clipfarm_tasks.errors import DataError

# Part of every row's identity in the vector tables. Raise it when the same bytes would be decoded or judged otherwise:
# rows made by other rules are then made again.
RULES = 2


class Reason(StrEnum):
    """Why a row's vector was taken out."""

    MISSING_OBJECT = "missing_object"
    FOREIGN_KEY = "foreign_key"
    OVERSIZED = "oversized"
    EMPTY_OBJECT = "empty_object"
    NOT_AN_ARRAY = "not_an_array"
    TRUNCATED = "truncated"
    OBJECT_ARRAY = "object_array"
    UNSUPPORTED_TYPE = "unsupported_type"
    MISSING_MEMBER = "missing_member"
    INCONSISTENT_SHARD = "inconsistent_shard"
    WRONG_SHAPE = "wrong_shape"
    WRONG_WIDTH = "wrong_width"
    NOT_FINITE = "not_finite"
    INDEX_OUT_OF_RANGE = "index_out_of_range"
    OTHER_VIDEO = "other_video"


class BadVectorError(Exception):
    """The bytes of one object are not the vectors they should be.

    Attributes:
        reason: which rule the object breaks.
        detail: rule and received value, ``expected ..., got ...``.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        """State the broken rule and the received value."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One row taken out.

    Attributes:
        video_id: whose row it is.
        key: object the vector should have come from.
        reason: which rule was broken.
        detail: rule and received value.
    """

    video_id: str
    key: str
    reason: Reason
    detail: str


def check_size(size: int, largest: int) -> None:
    """Refuse an object by the size that a listing tells, before it is read.

    Raises:
        BadVectorError: it has more than ``largest`` bytes.
    """
    if size > largest:
        raise BadVectorError(Reason.OVERSIZED, f"expected an object of at most {largest} bytes, got {size}")


def quarantine_all(video_ids: Iterable[str], key: str, bad: BadVectorError) -> list[Quarantined]:
    """Take out every row of one unusable object."""
    return [Quarantined(video_id, key, bad.reason, bad.detail) for video_id in video_ids]


def count_by_reason(quarantined: Iterable[Quarantined]) -> dict[str, int]:
    """Rows taken out by reason, in alphabetical order of the reasons."""
    return dict(sorted(Counter(str(row.reason) for row in quarantined).items()))


def check_fraction(quarantined: Sequence[Quarantined], total: int, limit: float, table: str) -> None:
    """Refuse a run that loses too many rows.

    Args:
        quarantined: rows taken out.
        total: rows looked at, the ones taken out included.
        limit: largest accepted fraction, 0 to 1 (``max_quarantined_fraction``).
        table: what the rows belong to, for the message.

    Raises:
        DataError: more than ``limit`` of the rows were taken out.
    """
    count = len(quarantined)
    if count <= limit * total:
        return
    reasons = ", ".join(f"{reason} {n}" for reason, n in count_by_reason(quarantined).items())
    example = quarantined[0]
    raise DataError(
        f"expected at most max_quarantined_fraction = {limit:g} of the rows quarantined, "
        f"got {count} of {total} ({reasons}; first: {example.video_id}, {example.key}: {example.detail}), in {table}"
    )
