"""Leakage is excluded by construction, and once more before training."""

import pytest
from pydantic import ValidationError

from clipfarm_tasks.data.columns import KNOWN
from clipfarm_tasks.data.features import FeatureSpec, select_features
from clipfarm_tasks.data.leakage import assert_no_feature_leakage, is_leakage
from clipfarm_tasks.errors import DataError

LEAKAGE = [
    "horizon_view_count",
    "horizon_days",
    "horizon_label_type",
    "view_count",
    "like_count",
    "comment_count",
    "views_per_day",
    "likes_per_day",
    "comments_per_day",
    "views_per_hour",
    "likes_per_view",
    "comments_per_view",
    "age_days",
    "virality_score",
]


@pytest.mark.parametrize(
    "name",
    [
        *LEAKAGE,
        "comments_per_like",
        "channel_views_per_day",
        "likesPerHour",
        "Views_Per_Day",
        "VIEW_COUNT",
        "horizon_like_count",
        "target_log",
        "view_count_7d",
        "log_like_count",
        "viewCount",
        "views_24h",
        "total_views",
        "likes",
        "like_ratio",
        "super_likes",
        "engagementRate",
        "video_age_days",
        "age_hours",
        "share_count",
        "play_count",
        "viewcount",
        "LIKECOUNT",
        "hearts",
        "days_since_published",
        "popularity",
    ],
)
def test_leakage(name):
    assert is_leakage(name)


@pytest.mark.parametrize(
    "name",
    [
        "channel_view_count",
        "channel_median_shorts_view_count",
        "channel_age_days",
        "likes_hidden",
        "percent_vertical",
        "comments_disabled",
        "uploads_per_week",
        "publicStatsViewable",
        "channel_digg_count",
        "channel_like_ratio",
        "music_duration_seconds",
        "is_original_sound",
        "language_score",
        "page_count",
    ],
)
def test_no_leakage(name):
    assert not is_leakage(name)


def test_the_known_leakage_set_is_the_listed_one():
    assert {name for name in KNOWN if is_leakage(name)} == set(LEAKAGE)


def test_a_leakage_column_given_as_usable_is_still_excluded():
    header = ["video_id", "view_count", "title_length", "query", "channel_id"]
    spec = select_features(header, ["view_count", "title_length", "channel_id"], ["query", "horizon_label_type"])
    assert spec.numeric_cols == ("title_length",)
    assert spec.categorical_cols == ("query",)
    assert spec.excluded_leakage == ("view_count",)
    assert spec.excluded_high_card == ("channel_id",)
    assert spec.dropped_metadata_cols == ("video_id",)


@pytest.mark.parametrize("name", LEAKAGE)
def test_a_forced_leakage_column_fails_training(name):
    with pytest.raises(DataError, match=f"expected no feature that tells the label, got {name}, in concat_7d"):
        assert_no_feature_leakage(["title_length", name], "concat_7d")


def test_clean_features_pass():
    assert_no_feature_leakage(["title_length", "channel_view_count"], "concat_7d")


def test_spec_round_trips_as_json_and_is_frozen():
    spec = select_features(["title_length"], ["title_length"], [])
    assert FeatureSpec.model_validate_json(spec.model_dump_json()) == spec
    assert FeatureSpec.model_validate(spec.model_dump(mode="json")) == spec
    with pytest.raises(ValidationError):
        spec.numeric_cols = ()
