"""What the metadata of one horizon told about itself; travels beside the filtered rows."""

from pydantic import Field

from clipfarm_tasks.config import Frozen
from clipfarm_tasks.data.features import FeatureSpec


class MetadataReport(Frozen):
    """Feature lists and counts of one horizon."""

    features: FeatureSpec = Field(description="The columns, by what becomes of them")
    rows_read: int = Field(description="Rows in the CSV")
    dropped: dict[str, int] = Field(description="Rows left out, by reason")
    unreadable: dict[str, int] = Field(description="Cells that became missing because nothing could be read, by column")
    missing_rate: dict[str, float] = Field(description="Fraction of missing cells by feature, 0 to 1")
