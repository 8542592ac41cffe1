"""Columns are sorted into features and the rest, and every unknown one is told with its fate."""

import pytest
from pydantic import ValidationError

from clipfarm_tasks.data.features import FeatureSpec, check_extra_features, may_be_feature, select_features
from clipfarm_tasks.errors import ConfigError

WHERE = "s3://bucket/metadata.csv"
HEADER = [
    "video_id",
    "title_length",
    "digg_count",
    "bitrate",
    "channel_uid",
    "codec",
    "Unnamed: 0",
    "viewCount",
    "query",
]
NUMERIC = ["title_length", "digg_count", "bitrate", "Unnamed: 0", "viewCount", "published_hour"]


def select(extra=(), exclude=(), header=HEADER, numeric=NUMERIC):
    return select_features(header, numeric, ["query"], WHERE, extra, exclude)


def test_a_leakage_column_given_as_usable_is_still_excluded():
    header = ["video_id", "view_count", "title_length", "query", "channel_id"]
    spec = select_features(header, ["view_count", "title_length", "channel_id"], ["query", "horizon_label_type"], WHERE)
    assert spec.numeric_cols == ("title_length",)
    assert spec.categorical_cols == ("query",)
    assert spec.excluded_leakage == ("view_count",)
    assert spec.excluded_high_card == ("channel_id",)
    assert spec.dropped_metadata_cols == ("video_id",)
    assert spec.unknown_columns == {}


def test_every_unknown_column_is_told_with_its_fate_and_the_rule():
    spec = select()
    assert spec.numeric_cols == ("bitrate", "published_hour", "title_length")
    assert spec.excluded_leakage == ("digg_count", "viewCount")
    assert spec.dropped_metadata_cols == ("Unnamed: 0", "channel_uid", "codec", "video_id")
    assert {name: (fate.became, fate.why) for name, fate in spec.unknown_columns.items()} == {
        "digg_count": ("excluded", "its name speaks of the audience's response"),
        "bitrate": ("numeric feature", "it can be used, and nothing speaks against its name"),
        "channel_uid": ("dropped", "its name says identifier, address or time of an event"),
        "codec": ("dropped", "its cells do not all read as numbers, or they are all the same"),
        "Unnamed: 0": ("dropped", "it numbers the rows of a file"),
        "viewCount": ("excluded", "it belongs to the contract's leakage set"),
    }


def test_extra_and_exclude_overrule_by_name():
    spec = select(extra=["digg_count"], exclude=["bitrate", "query", "published_hour", "viewCount"])
    assert spec.numeric_cols == ("digg_count", "title_length")
    assert spec.categorical_cols == ()
    assert spec.excluded_leakage == ("viewCount",)
    assert {"bitrate", "query"} <= set(spec.dropped_metadata_cols)
    fates = {name: (fate.became, fate.why) for name, fate in spec.unknown_columns.items()}
    assert fates["digg_count"] == ("numeric feature", "extra_features names it")
    assert fates["bitrate"] == ("dropped", "exclude_features names it")
    assert fates["viewCount"] == ("excluded", "it belongs to the contract's leakage set")


@pytest.mark.parametrize("field", ["extra", "exclude"])
def test_a_name_that_is_no_column_is_refused(field):
    with pytest.raises(
        ConfigError, match=rf"{field}_features: expected columns of the file, got 'dig_count', in {WHERE}"
    ):
        select(**{field: ["dig_count"]})


def test_an_extra_feature_that_cannot_be_read_is_refused():
    with pytest.raises(
        ConfigError, match=r"extra_features: expected columns whose cells all read as numbers .*, got 'codec', in s3"
    ):
        select(extra=["codec", "digg_count"])


@pytest.mark.parametrize(
    "name",
    [
        "view_count",
        "viewCount",
        "horizon_view_count",
        "views_per_minute",
        "target_log",
        "video_id",
        "channel_id",
        "title",
    ],
)
def test_the_contract_cannot_be_overruled(name):
    with pytest.raises(ConfigError, match=f"extra_features: expected no column that the contract .*, got '{name}'"):
        check_extra_features(["digg_count", name])


def test_unknown_and_known_features_may_be_asked_for():
    check_extra_features(["digg_count", "label", "title_length", "Unnamed: 0"])


def test_what_is_worth_reading():
    assert [name for name in HEADER if may_be_feature(name)] == ["title_length", "bitrate", "codec", "query"]
    extra = ["digg_count", "channel_uid", "viewCount"]
    assert [name for name in extra if may_be_feature(name, extra)] == ["digg_count", "channel_uid"]


def test_spec_round_trips_as_json_and_is_frozen():
    spec = select()
    assert FeatureSpec.model_validate_json(spec.model_dump_json()) == spec
    assert FeatureSpec.model_validate(spec.model_dump(mode="json")) == spec
    with pytest.raises(ValidationError):
        spec.numeric_cols = ()
