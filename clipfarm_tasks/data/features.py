"""Which metadata columns a model may see; what would leak the label is excluded by construction."""

import re
from collections.abc import Collection, Iterable, Sequence

from pydantic import Field

from clipfarm_tasks.config import Frozen
from clipfarm_tasks.data.columns import KNOWN, PUBLISHED, Kind
from clipfarm_tasks.errors import DataError

_TOKEN = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_OUTCOMES = frozenset({"view", "views", "like", "likes", "comment", "comments"})
# Parts of words: an unknown "viewcount" or "review_score" had better stay out until somebody has looked at it.
_RESPONSE = re.compile(
    "view|like|comment|share|play|heart|download|upvote|popular|trend|engage|viral|impression|reach|repost|retention|watch"
)
_OUTCOME_PREFIXES = ("horizon_", "target_")


class FeatureSpec(Frozen):
    """The columns of one horizon's metadata, by what becomes of them; each tuple is in alphabetical order."""

    numeric_cols: tuple[str, ...] = Field(description="Numeric and boolean features, published hour and weekday too")
    categorical_cols: tuple[str, ...] = Field(description="Categorical features")
    dropped_metadata_cols: tuple[str, ...] = Field(description="Identifiers, timestamps, texts and empty columns")
    excluded_high_card: tuple[str, ...] = Field(description="Categories with too many values to learn from")
    excluded_leakage: tuple[str, ...] = Field(description="Columns that tell the label")


def is_leakage(name: str) -> bool:
    """Whether a column tells, or is computed from, the outcome that is predicted.

    That is the listed leakage set, every ``*_per_*`` rate with a views, likes or comments token whatever its prefix,
    everything called ``horizon_*`` or ``target_*``, and an unknown column, not the channel's, that names the audience's
    response or the video's age (``view_count_7d``, ``engagement_rate``, ``age_hours``): a new upstream column must not
    leak before somebody has looked at it. Case and camelCase make no difference.
    """
    kind = KNOWN.get(name) or KNOWN.get(name.lower())
    if kind in (Kind.LABEL, Kind.LEAKAGE) or name.lower().startswith(_OUTCOME_PREFIXES):
        return True
    tokens = [token.lower() for token in _TOKEN.findall(name)]
    if "per" in tokens and not _OUTCOMES.isdisjoint(tokens):
        return True
    suspicious = _RESPONSE.search(name.lower()) is not None or not {"age", "since"}.isdisjoint(tokens)
    return kind is None and tokens[:1] != ["channel"] and suspicious


def select_features(header: Sequence[str], numeric: Collection[str], categorical: Collection[str]) -> FeatureSpec:
    """Sort the columns of a table into features and the rest.

    Args:
        header: every column of the file.
        numeric: columns, or derived ones, found usable as numbers.
        categorical: columns found usable as categories.

    Returns:
        The lists; a leakage column is in ``excluded_leakage`` even if it is also given as usable.
    """
    leaking = {name for name in header if is_leakage(name)}
    high_card = {name for name in header if KNOWN.get(name) is Kind.HIGH_CARD}
    numeric_cols = {name for name in numeric if name not in high_card and not is_leakage(name)}
    categorical_cols = {name for name in categorical if name not in high_card and not is_leakage(name)}
    rest = set(header) - leaking - high_card - numeric_cols - categorical_cols
    return FeatureSpec(
        numeric_cols=tuple(sorted(numeric_cols)),
        categorical_cols=tuple(sorted(categorical_cols)),
        dropped_metadata_cols=tuple(sorted(rest - set(PUBLISHED))),
        excluded_high_card=tuple(sorted(high_card)),
        excluded_leakage=tuple(sorted(leaking)),
    )


def assert_no_feature_leakage(selected: Iterable[str], where: str) -> None:
    """Last check before training.

    Args:
        selected: every column a model is about to see.
        where: what was selected from, for the message.

    Raises:
        DataError: a leakage column is among them; names all of them.
    """
    leaking = sorted(name for name in set(selected) if is_leakage(name))
    if leaking:
        raise DataError(f"expected no feature that tells the label, got {', '.join(leaking)}, in {where}")
