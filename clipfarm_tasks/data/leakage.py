"""Which metadata columns would leak the label to a model."""

import re
from collections.abc import Iterable

from clipfarm_tasks.data.columns import KNOWN, Kind
from clipfarm_tasks.errors import DataError

_TOKEN = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_OUTCOMES = frozenset({"view", "views", "like", "likes", "comment", "comments"})
# Parts of words: an unknown "viewcount" or "review_score" had better stay out until somebody has looked at it.
_RESPONSE = re.compile(
    "view|like|comment|share|play|heart|download|upvote|popular|trend|engage|viral|impression|reach|repost|retention|watch"
)
_OUTCOME_PREFIXES = ("horizon_", "target_")


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
