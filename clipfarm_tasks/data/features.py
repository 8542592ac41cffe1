"""Which metadata columns a model may see; what `clipfarm_tasks.data.leakage` names is excluded by construction."""

from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Literal

from pydantic import Field

from clipfarm_tasks.config import Frozen
from clipfarm_tasks.data.columns import KNOWN, PUBLISHED, Kind, kind_of, names_no_feature, numbers_rows
from clipfarm_tasks.data.computed_features import LEARNT
from clipfarm_tasks.data.computed_features import NAMES as COMPUTED_NAMES
from clipfarm_tasks.data.leakage import in_leakage_set, is_leakage, leakage_reason
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import VECTOR_COLUMN

_NEVER = (Kind.HIGH_CARD, Kind.IDENTIFIER, Kind.TIMESTAMP, Kind.TEXT)
_FEATURES = (Kind.NUMERIC, Kind.BOOLEAN, Kind.CATEGORICAL)


class UnknownColumn(Frozen):
    """What became of a column that the contract does not list."""

    became: Literal["numeric feature", "categorical feature", "excluded", "dropped"] = Field(description="Its fate")
    why: str = Field(description="The rule that decided")


class FeatureSpec(Frozen):
    """The columns of one horizon's metadata, by what becomes of them; each tuple is in alphabetical order."""

    numeric_cols: tuple[str, ...] = Field(description="Numeric and boolean features, published hour and weekday too")
    categorical_cols: tuple[str, ...] = Field(description="Categorical features")
    dropped_metadata_cols: tuple[str, ...] = Field(
        description="Identifiers, timestamps, texts, empty columns, and what exclude_features names"
    )
    excluded_high_card: tuple[str, ...] = Field(description="Categories with too many values to learn from")
    excluded_leakage: tuple[str, ...] = Field(description="Columns that tell the label, or whose names sound like it")
    learnt_cols: tuple[str, ...] = Field(
        default=(), description="Numeric features that each model learns from other rows, beside these columns"
    )
    unknown_columns: dict[str, UnknownColumn] = Field(
        default={}, description="What became of each column that the contract does not list"
    )


def check_extra_features(names: Iterable[str]) -> None:
    """Refuse to overrule the contract.

    Raises:
        ConfigError: a name belongs to the leakage set, or to a known column that is no feature; names all of them.
    """
    refused = [
        repr(name) for name in names if in_leakage_set(name) or kind_of(name) in _NEVER or VECTOR_COLUMN.fullmatch(name)
    ]
    if refused:
        raise ConfigError(
            f"extra_features: expected no column that the contract keeps from the models (labels and what tells them, "
            f"identifiers, times, texts, vector columns), got {', '.join(refused)}"
        )


def may_be_feature(name: str, extra_features: Collection[str] = ()) -> bool:
    """Whether a column of the file is worth reading as a feature, by its name."""
    kind = KNOWN.get(name)
    if is_leakage(name, extra_features):
        return False
    return kind in _FEATURES or name in extra_features or (kind is None and not names_no_feature(name))


def select_features(
    header: Sequence[str],
    numeric: Collection[str],
    categorical: Collection[str],
    where: str,
    extra_features: Collection[str] = (),
    exclude_features: Collection[str] = (),
    learnt_cols: Collection[str] = (),
) -> FeatureSpec:
    """Sort the columns of a table into features and the rest.

    Args:
        header: every column of the file.
        numeric: columns, or derived ones, found usable as numbers.
        categorical: columns found usable as categories.
        where: the file, for messages.
        extra_features: unknown columns that are features whatever their names say.
        exclude_features: columns that are no features.
        learnt_cols: what models learn from other rows; a column of the file that is called the same comes first.

    Returns:
        The lists; a leakage column is in ``excluded_leakage`` even if it is also given as usable.

    Raises:
        ConfigError: one of the asked-for names is no column of the file, or an extra feature cannot be used.
    """
    extra, exclude = frozenset(extra_features), frozenset(exclude_features)
    _check_named(header, {*numeric, *categorical}, extra, exclude, where)
    reasons = {name: leakage_reason(name, extra) for name in {*header, *numeric, *categorical}}
    high_card = {name for name in header if KNOWN.get(name) is Kind.HIGH_CARD}
    refused = high_card | exclude | {name for name, reason in reasons.items() if reason}
    numeric_cols, categorical_cols = set(numeric) - refused, set(categorical) - refused
    leaking = {name for name in header if reasons[name] and not numbers_rows(name)}
    rest = set(header) - leaking - high_card - numeric_cols - categorical_cols
    features = dict.fromkeys(numeric_cols, "numeric feature") | dict.fromkeys(categorical_cols, "categorical feature")
    unknown = {
        name: _fate(name, features.get(name), reasons[name], extra, exclude) for name in header if name not in KNOWN
    }
    return FeatureSpec(
        numeric_cols=tuple(sorted(numeric_cols)),
        categorical_cols=tuple(sorted(categorical_cols)),
        dropped_metadata_cols=tuple(sorted(rest - set(PUBLISHED))),
        excluded_high_card=tuple(sorted(high_card)),
        excluded_leakage=tuple(sorted(leaking)),
        learnt_cols=tuple(sorted({*learnt_cols} - {*header, *exclude})),
        unknown_columns=unknown,
    )


def _check_named(
    header: Sequence[str], usable: set[str], extra: Collection[str], exclude: Collection[str], where: str
) -> None:
    for field, names in (("extra_features", extra), ("exclude_features", exclude)):
        absent = sorted(set(names) - {*header, *PUBLISHED, *COMPUTED_NAMES, *chain(*LEARNT.values())})
        if absent:
            raise ConfigError(f"{field}: expected columns of the file, got {', '.join(map(repr, absent))}, in {where}")
    unusable = sorted(set(extra) - usable)
    if unusable:
        raise ConfigError(
            "extra_features: expected columns whose cells all read as numbers or yes and no, and that are not the same "
            f"in all rows, got {', '.join(map(repr, unusable))}, in {where}"
        )


def _fate(
    name: str, feature: str | None, reason: str | None, extra: Collection[str], exclude: Collection[str]
) -> UnknownColumn:
    if reason:
        return UnknownColumn(became="dropped" if numbers_rows(name) else "excluded", why=reason)
    if name in exclude:
        return UnknownColumn(became="dropped", why="exclude_features names it")
    if feature:
        why = "extra_features names it" if name in extra else "it can be used, and nothing speaks against its name"
        return UnknownColumn.model_validate({"became": feature, "why": why})
    if names_no_feature(name):
        return UnknownColumn(became="dropped", why="its name says identifier, address or time of an event")
    return UnknownColumn(became="dropped", why="its cells do not all read as numbers, or they are all the same")
