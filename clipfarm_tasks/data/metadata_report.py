"""What the metadata of one horizon told about itself; travels beside the filtered rows."""

from pydantic import Field

from clipfarm_tasks.config import Frozen
from clipfarm_tasks.data.column_cells import ColumnCells
from clipfarm_tasks.data.features import FeatureSpec


class MetadataReport(Frozen):
    """Feature lists and counts of one horizon."""

    features: FeatureSpec = Field(description="The columns, by what becomes of them")
    rows_read: int = Field(description="Rows in the CSV; equals the kept rows and everything dropped")
    dropped: dict[str, int] = Field(description="Rows left out, by the first reason that applies")
    unreadable: dict[str, int] = Field(
        description="Cells of the kept rows that became missing because nothing could be read, by feature; captured_at"
    )
    missing_rate: dict[str, float] = Field(description="Fraction of missing cells of the kept rows by feature, 0 to 1")
    unused: dict[str, ColumnCells] = Field(
        default={}, description="Columns that were read and are no features, known and new ones"
    )
    feature_lag_hours: float | None = Field(
        default=None, description="Median time from the publication of a video to the capture of its features, hours"
    )
    captures_compared: int | None = Field(
        default=None,
        description="Videos with a later capture than the one nearest to publication; runs of earlier "
        "releases did not look",
    )
    counters_moved: dict[str, float] = Field(
        default={},
        description="Fraction of these (0 to 1) whose count of the audience is another one in the capture of their "
        "features than in the one nearest to publication, by feature",
    )
    absent: tuple[str, ...] = Field(default=(), description="Known feature columns that the CSV does not have")
    examples: dict[str, str] = Field(
        default={}, description="The first unreadable cell of the CSV, by column of the CSV that has one"
    )
