import pytest

from clipfarm_tasks.data.features import FeatureSpec
from clipfarm_tasks.data.metadata_report import MetadataReport, read_metadata_report
from clipfarm_tasks.errors import DataError

REPORT = MetadataReport(
    features=FeatureSpec(
        numeric_cols=("a",),
        categorical_cols=("b",),
        dropped_metadata_cols=(),
        excluded_high_card=(),
        excluded_leakage=("view_count",),
    ),
    rows_read=3,
    dropped={"ragged_row": 1},
    unreadable={},
    missing_rate={"a": 0.5},
)


def test_report_survives_the_journey():
    assert read_metadata_report(REPORT.model_dump_json().encode(), "s3://b/k") == REPORT


@pytest.mark.parametrize("body", [b"", b"{}", b'{"features": 1}'])
def test_what_is_no_report_is_one_sentence(body):
    with pytest.raises(DataError, match=r"expected a metadata report, got .*, in s3://b/k$") as info:
        read_metadata_report(body, "s3://b/k")
    assert "\n" not in str(info.value)
