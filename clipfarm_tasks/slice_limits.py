"""How well the best model must do on a slice of the videos: the texts of the param ``slice_limits``.

Importing this module costs nothing: DAG files read it at parse time.
"""

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

_E = TypeVar("_E", bound=StrEnum)

MISSING = "(missing)"
OTHER = "(other)"


class Dimension(StrEnum):
    """What the videos are sliced by; the slices of one dimension hold every video once."""

    TEXT_PRESENT = "text_present"
    CREATOR = "creator"
    CHANNEL_SIZE = "channel_size"
    DURATION = "duration"
    HOUR = "hour"
    COUNTRY = "country"
    LANGUAGE = "language"
    QUERY = "query"


EDGES = {Dimension.CHANNEL_SIZE: (1_000, 10_000, 100_000, 1_000_000), Dimension.DURATION: (15, 30, 60)}
"""Where bins of subscribers and of seconds begin: fixed, so that a slice of a name is the same in every run."""

HOURS = ("00-05", "06-11", "12-17", "18-23")


def bin_names(edges: tuple[int, ...]) -> tuple[str, ...]:
    """``under_1000``, ``from_1000``, ...: each bin holds its lower edge and ends below the next one."""
    return (f"under_{edges[0]}", *(f"from_{edge}" for edge in edges))


CLOSED = {
    Dimension.TEXT_PRESENT: ("1", "0"),
    Dimension.CREATOR: ("seen", "unseen"),
    **{dimension: (*bin_names(edges), MISSING) for dimension, edges in EDGES.items()},
    Dimension.HOUR: (*HOURS, MISSING),
}
"""The slices of the dimensions whose slices do not depend on the data."""


class SliceMetric(StrEnum):
    """What is known of a slice."""

    RMSE_LOG = "rmse_log"
    MAE_LOG = "mae_log"
    R2_LOG = "r2_log"
    BIAS_LOG = "bias_log"
    COVERAGE = "coverage"
    WIDTH_LOG = "mean_width_log"


# Metrics with one good direction take only the limit that makes sense: a limit the wrong way round never blocks.
_OPERATORS = {
    SliceMetric.RMSE_LOG: ("<=",),
    SliceMetric.MAE_LOG: ("<=",),
    SliceMetric.R2_LOG: (">=",),
    SliceMetric.BIAS_LOG: ("<=", ">="),
    SliceMetric.COVERAGE: ("<=", ">="),
    SliceMetric.WIDTH_LOG: ("<=",),
}
_LIMIT = re.compile(r"(?P<dimension>\w+)=(?P<name>.+):(?P<metric>\w+)(?P<operator><=|>=)(?P<value>[^<>=]+)", re.DOTALL)
FORM = "<dimension>=<slice>:<metric><= or >=<number>, such as text_present=0:rmse_log<=2.5"


@dataclass(frozen=True)
class SliceLimit:
    """One limit.

    Attributes:
        dimension: what is sliced by.
        name: of the slice, as in slices.json.
        metric: what is limited.
        at_most: whether ``value`` is the largest allowed one, else the smallest.
        value: the limit.
    """

    dimension: Dimension
    name: str
    metric: SliceMetric
    at_most: bool
    value: float

    @property
    def slice(self) -> str:
        """The slice as people write it: ``text_present=0``."""
        return f"{self.dimension}={self.name}"

    def __str__(self) -> str:
        return f"{self.slice}:{self.metric}{'<=' if self.at_most else '>='}{self.value!r}"

    def holds(self, value: float) -> bool:
        """Whether a measured value keeps the limit."""
        return value <= self.value if self.at_most else value >= self.value


def parse_limit(text: str) -> SliceLimit:
    """Read one limit. The name of a slice may hold any character: the last ``:`` ends it.

    Raises:
        ValueError: the text is no limit, or names what does not exist; says what was expected instead.
    """
    found = _LIMIT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"expected {FORM}, got {text!r}")
    dimension = _one_of(Dimension, found["dimension"], "dimension", text)
    metric = _one_of(SliceMetric, found["metric"], "metric", text)
    if found["operator"] not in _OPERATORS[metric]:
        raise ValueError(f"expected {metric}{_OPERATORS[metric][0]}, since better is the other way, got {text!r}")
    names = CLOSED.get(dimension, (found["name"],))
    if found["name"] not in names:
        raise ValueError(f"expected a slice of {dimension} ({', '.join(names)}), got {found['name']!r} in {text!r}")
    try:
        value = float(found["value"])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"expected a number as the limit, got {found['value']!r} in {text!r}")
    return SliceLimit(dimension, found["name"], metric, found["operator"] == "<=", value)


def _one_of(choices: type[_E], name: str, what: str, text: str) -> _E:
    if name not in set(choices):
        raise ValueError(f"expected a {what} ({', '.join(choices)}), got {name!r} in {text!r}")
    return choices(name)
