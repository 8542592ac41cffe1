"""What the metadata of one horizon told about itself; travels beside the filtered rows."""

from pydantic import Field, ValidationError

from clipfarm_tasks.config import Frozen
from clipfarm_tasks.data.features import FeatureSpec
from clipfarm_tasks.errors import DataError


class MetadataReport(Frozen):
    """Feature lists and counts of one horizon."""

    features: FeatureSpec = Field(description="The columns, by what becomes of them")
    rows_read: int = Field(description="Rows in the CSV")
    dropped: dict[str, int] = Field(description="Rows left out, by reason")
    unreadable: dict[str, int] = Field(description="Cells that became missing because nothing could be read, by column")
    missing_rate: dict[str, float] = Field(description="Fraction of missing cells by feature, 0 to 1")


def read_metadata_report(body: bytes, where: str) -> MetadataReport:
    """Parse a stored report.

    Raises:
        DataError: it is not one.
    """
    try:
        return MetadataReport.model_validate_json(body)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'text'}: {item['msg']}" for item in error.errors())
        raise DataError(f"expected a metadata report, got {problems}, in {where}") from error
