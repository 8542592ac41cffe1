"""The table of known columns, and what a name says of itself."""

import pytest

from clipfarm_tasks.data.columns import KNOWN, Kind, kind_of, names_no_feature, numbers_rows, words_of


def test_every_column_has_one_kind_and_the_required_ones_are_known():
    assert len(KNOWN) > 70
    assert {"video_id", "horizon_days", "horizon_view_count", "madeForKids", "channel_view_count"} < set(KNOWN)


@pytest.mark.parametrize(
    "name", ["likeCount7D", "like_count_7_d", "like.count:7 d", "LIKE-COUNT 7d", "__like__Count7d"]
)
def test_words_are_the_same_however_they_are_written(name):
    assert words_of(name) == ("like", "count", "7", "d")


def test_a_known_column_is_known_under_other_spellings():
    assert {kind_of("viewCount"), kind_of("View Count"), kind_of("VIEW_COUNT")} == {Kind.LEAKAGE}
    assert kind_of("made_for_kids") is kind_of("madeForKids") is Kind.BOOLEAN
    assert kind_of("view_counts") is None


@pytest.mark.parametrize(
    "name",
    ["Unnamed: 0", "Unnamed: 0.1", "index", "idx", "level_0", "__index_level_0__", "row", "row_number", "row_id",
     "rowNumber", "rownum", "RowIndex", "record_no", "_c0", "", "0", "...1"],
)  # fmt: skip
def test_row_numbers(name):
    assert numbers_rows(name)
    assert names_no_feature(name)


@pytest.mark.parametrize(
    "name",
    ["sound_id", "soundId", "musicUrl", "cover_uri", "file_hash", "crawled_at", "createTime", "published_time",
     "upload_date", "snapshot_ts"],
)  # fmt: skip
def test_identifiers_addresses_and_times(name):
    assert names_no_feature(name)
    assert not numbers_rows(name)


@pytest.mark.parametrize(
    "name", ["row_height", "line_count", "sharpness_index", "noise_level", "format", "reading_time"]
)
def test_measurements_are_none_of_these(name):
    assert not names_no_feature(name)


@pytest.mark.parametrize("name", ["播放量", "7天", "просмотры"])
def test_a_name_in_another_script_numbers_no_rows(name):
    assert not numbers_rows(name)


def test_a_column_called_like_a_vector_column_names_no_feature():
    assert all(names_no_feature(name) for name in ("fused_0", "proj_0", "proj_127", ""))
    assert not any(names_no_feature(name) for name in ("fused", "fused_0_mean", "my_fused_0", "proj_x", "fused_0\n"))
