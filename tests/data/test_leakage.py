"""Leakage is recognised by name, whoever wrote the name, and once more before training."""

import pytest

from clipfarm_tasks.data.columns import KNOWN
from clipfarm_tasks.data.leakage import assert_no_feature_leakage, in_leakage_set, is_leakage, leakage_reason
from clipfarm_tasks.errors import DataError


def names(text):
    return text.split()


LEAKAGE_SET = [
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
RATES_AND_OWN_NAMES = names(
    """
    viewCount Views_Per_Day VIEW_COUNT ageDays comments_per_like channel_views_per_day likesPerHour horizon_like_count
    target_log targetRaw
    """
)
OUTCOMES = names(
    """
    view_count_7d log_like_count views_24h total_views likes like_ratio super_likes engagementRate share_count
    play_count viewcount LIKECOUNT hearts popularity digg_count diggCount stats.diggCount collect_count favorite_count
    favourites favs save_count savecount saves bookmark_count reaction_count love_count total_interactions
    forward_count clicks ctr
    vph rpm estimated_revenue earned_usd watch_time watchTimeMinutes completion_rate completionRate retention_30s duets
    stitchCount sends replies retweets quote_count upvotes dislikes rating_count subscribers_gained followersLost
    net_followers new_subscribers subscriber_growth rank percentile_rank topRank performance_score score delta velocity
    momentum is_viral trending hook_rate follows impressions reach thumbs_up screenshots is_hit swiped_away
    sub_gain eng_rate coins_received crossposts time_spent
    """
)
LABELS = [
    "y",
    "Y",
    "y_true",
    "yTrue",
    "y_pred",
    "log_y",
    "target",
    "label",
    "label_7d",
    "log_label",
    "outcome",
    "response",
    "ground_truth",
    "predictions",
]
ELAPSED = names(
    """
    video_age_days age_hours days_since_published hours_online hoursOnline hours.online hoursonline days_online
    capture_delay_days days_to_label elapsed_days lifetime_days label_lag days_live hours_up time_online minutes_live
    seconds_since_publish upload_to_capture_hours days_ago how_old published_days
    """
)
OF_CHANNELS = names(
    """
    channel_last_video_views channel_views_30d channel_views_gained channel_top_video_like_count channel_engagement_rate
    channelEngagementRate channel_like_ratio channel_total_likes channel_avg_views channel_subscribers_gained
    channel_subscribers_30d channel_new_followers channel_growth channel_rank author_recent_likes
    profile_visits channel_days_since_last_upload channel_latest_video_age_days channel_elapsed_days
    """
)
ROW_NUMBERS = ["Unnamed: 0", "Unnamed: 0.1", "index", "level_0", "__index_level_0__", "row_number", "rowId", "_c0", "0"]


@pytest.mark.parametrize(
    "name",
    [*LEAKAGE_SET, *RATES_AND_OWN_NAMES, *OUTCOMES, *LABELS, *ELAPSED, *OF_CHANNELS, *ROW_NUMBERS, "播放量"],
)
def test_leakage(name):
    assert is_leakage(name)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (LEAKAGE_SET + RATES_AND_OWN_NAMES, "it belongs to the contract's leakage set"),
        (OUTCOMES, "its name speaks of the audience's response"),
        (LABELS, "its name speaks of a label or a prediction"),
        ([name for name in ELAPSED if "label" not in name], "its name speaks of the time since publication"),
        (ROW_NUMBERS, "it numbers the rows of a file"),
        (["播放量"], "its name has no Latin letter, so nothing can be told from it"),
        (
            ["channel_views_30d", "channel_new_followers", "author_recent_likes"],
            "its name speaks of the outcomes of the creator's videos, or of a change",
        ),
        (
            ["channel_days_since_last_upload", "channel_latest_video_age_days", "channel_elapsed_days"],
            "its name speaks of the time since a video was published",
        ),
    ],
)
def test_the_reason_says_what_the_name_speaks_of(columns, reason):
    assert {name: leakage_reason(name) for name in columns if leakage_reason(name) != reason} == {}


@pytest.mark.parametrize(
    "name",
    names("""
    channel_view_count channelViewCount channel_median_shorts_view_count channel_age_days channelAgeDays likes_hidden
    comments_disabled publicStatsViewable too_new_for_rates shorts_by_hashtag percent_vertical uploads_per_week
    channel_digg_count channel_following_count channel_friend_count channel_follower_count follower_count
    channel_playlist_count channel_verified channel_account_age_days author_age_days
    music_duration_seconds duration_ms is_original_sound page_count video_width bitrate frameRate fps has_music
    word_count uppercase_ratio face_count face_y is_sponsored mention_count preview_length display_width review_flag
    upload_hour publishWeekday is_live duet_enabled is_stitch language_count storage_mb stage_name_length
    description_links
    """),
)
def test_no_leakage(name):
    assert leakage_reason(name) is None


def test_of_the_known_columns_the_listed_ones_leak_and_no_other():
    assert {name for name in KNOWN if is_leakage(name)} == set(LEAKAGE_SET)


def test_a_name_of_any_length_is_judged_in_no_time():
    # Words that can be cut in two ways ("today" is "to" and "day" as well) would take a backtracking search for ever.
    assert not is_leakage("today" * 5000 + "x")


def test_extra_features_overrule_suspicion_and_never_the_contract():
    wanted = ["digg_count", "view_count", "viewCount", "views_per_minute"]
    assert [name for name in wanted if is_leakage(name, wanted)] == wanted[1:]
    assert [name for name in wanted if in_leakage_set(name)] == wanted[1:]


@pytest.mark.parametrize("name", [*LEAKAGE_SET, "digg_count"])
def test_a_forced_leakage_column_fails_training(name):
    with pytest.raises(DataError, match=f"expected no feature that tells the label, got {name}, in concat_7d"):
        assert_no_feature_leakage(["title_length", name], "concat_7d")


def test_all_leakage_columns_are_named():
    with pytest.raises(DataError, match="got digg_count, view_count, in concat_7d"):
        assert_no_feature_leakage(["view_count", "title_length", "digg_count"], "concat_7d")


def test_clean_features_pass():
    assert_no_feature_leakage(["title_length", "channel_view_count"], "concat_7d")
    assert_no_feature_leakage(["title_length", "digg_count"], "concat_7d", ["digg_count"])
