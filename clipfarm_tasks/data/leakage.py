"""Which metadata columns would leak the label to a model, judged by their names."""

import re
from collections.abc import Collection, Iterable

from clipfarm_tasks.data import leakage_words as say
from clipfarm_tasks.data.columns import Kind, kind_of, numbers_rows, words_of
from clipfarm_tasks.errors import DataError

_RATED = frozenset({"view", "views", "like", "likes", "comment", "comments"})
_COMPUTED_FROM_LABEL = (("target", "log"), ("target", "raw"))


def in_leakage_set(name: str) -> bool:
    """Whether a column belongs to the contract's leakage set, which no parameter overrules.

    That is the listed labels and outcomes, every ``*_per_*`` rate with a views, likes or comments token whatever its
    prefix, everything called ``horizon_*``, and the names of the columns that this project computes from the label.
    """
    words = words_of(name)
    if kind_of(name) in (Kind.LABEL, Kind.LEAKAGE) or ("per" in words and not _RATED.isdisjoint(words)):
        return True
    return words[:1] == ("horizon",) or words in _COMPUTED_FROM_LABEL


def leakage_reason(name: str, extra_features: Collection[str] = ()) -> str | None:
    """Why a column must not be a feature; None if nothing in its name speaks against it.

    A known column is judged by its kind. An unknown one must not leak before somebody has looked at it: it is left out
    where its name speaks of the audience's response, of a label, or of the time that the video has been online; behind
    ``channel_`` (author, creator, ...) where it speaks of videos' outcomes or of a change. Case, camelCase, separators
    and words written as one (``hoursOnline``, ``hours.online``, ``hoursonline``) make no difference.

    Args:
        name: the column.
        extra_features: unknown columns that are wanted in spite of their names.
    """
    if in_leakage_set(name):
        return "it belongs to the contract's leakage set"
    if kind_of(name) is not None or name in extra_features:
        return None
    if numbers_rows(name):
        return "it numbers the rows of a file"
    words = [piece for word in words_of(name) for piece in _pieces(word)]
    if not any(word.isalpha() for word in words):
        return "its name has no Latin letter, so nothing can be told from it"
    if not say.LABEL.isdisjoint(words) or say.LABEL_Y.fullmatch(" ".join(words)):
        return "its name speaks of a label or a prediction"
    return _of_creator(words) if words[0] in say.CREATOR else _of_video(words)


def is_leakage(name: str, extra_features: Collection[str] = ()) -> bool:
    """Whether a column must not be a feature; see `leakage_reason`."""
    return leakage_reason(name, extra_features) is not None


def assert_no_feature_leakage(selected: Iterable[str], where: str, extra_features: Collection[str] = ()) -> None:
    """Last check before training.

    Args:
        selected: every column a model is about to see.
        where: what was selected from, for the message.
        extra_features: unknown columns that the run asked for by name.

    Raises:
        DataError: a leakage column is among them; names all of them.
    """
    leaking = sorted(name for name in set(selected) if is_leakage(name, extra_features))
    if leaking:
        raise DataError(f"expected no feature that tells the label, got {', '.join(leaking)}, in {where}")


def _pieces(word: str) -> list[str]:
    """A word, taken apart if it is nothing but words of these rules written as one: ``hoursonline``."""
    # Possessive, so that the time is linear in the word: "today" is also "to" and "day".
    return re.findall(say.GLUED, word) if re.fullmatch(f"(?:{say.GLUED})++", word) else [word]


def _of_video(words: list[str]) -> str | None:
    if _tells_outcome(words):
        return "its name speaks of the audience's response"
    if _tells_elapsed_time(words):
        return "its name speaks of the time since publication"
    return None


def _of_creator(words: list[str]) -> str | None:
    # A creator's "digg" is a like that was given, not one that a video got; a playlist is no play.
    if _tells_outcome([word for word in words if not word.startswith(("digg", "playlist"))]):
        return "its name speaks of the outcomes of the creator's videos, or of a change"
    if not say.ONE_VIDEO.isdisjoint(words) and _tells_elapsed_time(words):
        return "its name speaks of the time since a video was published"
    return None


def _tells_outcome(words: list[str]) -> bool:
    if not say.PERMISSION.isdisjoint(words):
        return False
    text = " ".join(words)
    gained = not say.FOLLOWERS.isdisjoint(words) and (not say.CHANGE.isdisjoint(words) or say.WINDOW.search(text))
    rest = say.NO_OUTCOME.sub("", text)
    return bool(gained or say.OUTCOME_PART.search(rest)) or not say.OUTCOME.isdisjoint(rest.split())


def _tells_elapsed_time(words: list[str]) -> bool:
    rest = say.NO_OUTCOME.sub("", " ".join(words)).split()
    online = not say.SHORT_UNIT.isdisjoint(rest) and not say.ONLINE.isdisjoint(rest)
    return online or not say.ELAPSED.isdisjoint(rest)
