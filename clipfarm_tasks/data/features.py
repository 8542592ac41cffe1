"""Which metadata columns a model may see; what `clipfarm_tasks.data.leakage` names is excluded by construction."""

from collections.abc import Collection, Sequence

from pydantic import Field

from clipfarm_tasks.config import Frozen
from clipfarm_tasks.data.columns import KNOWN, PUBLISHED, Kind
from clipfarm_tasks.data.leakage import is_leakage


class FeatureSpec(Frozen):
    """The columns of one horizon's metadata, by what becomes of them; each tuple is in alphabetical order."""

    numeric_cols: tuple[str, ...] = Field(description="Numeric and boolean features, published hour and weekday too")
    categorical_cols: tuple[str, ...] = Field(description="Categorical features")
    dropped_metadata_cols: tuple[str, ...] = Field(description="Identifiers, timestamps, texts and empty columns")
    excluded_high_card: tuple[str, ...] = Field(description="Categories with too many values to learn from")
    excluded_leakage: tuple[str, ...] = Field(description="Columns that tell the label")


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
