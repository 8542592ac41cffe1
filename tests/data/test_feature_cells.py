"""Feature set v3 on its whole way through the CSV: of which capture a feature is, and what of it was known then."""

import numpy as np
import pytest

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.data.computed_features import NAMES
from clipfarm_tasks.data.metadata_horizon import select_horizon
from clipfarm_tasks.families import Horizon
from tests.data.metadata_csv import WHERE, scan, select, to_csv

V2, V3 = FeatureSet.V2_LOG_COUNTS, FeatureSet.V3
HEADER = [
    "video_id", "captured_at", "published_at", "horizon_days", "horizon_view_count", "title", "view_count",
    "channel_view_count", "channel_video_count", "channel_median_shorts_view_count",
]  # fmt: skip


def row(video_id, captured_at, label, channel_views, *, own="", videos="9", published="2026-03-01", title="Hi"):
    return [video_id, captured_at, published, 7, label, title, own, channel_views, videos, "5"]


def columns(rows, feature_set=V3):
    selected = select(to_csv(rows, HEADER), feature_set=feature_set)
    return selected, selected.frame.set_index("video_id")


def test_features_are_of_the_capture_nearest_to_publication_and_the_label_of_the_latest():
    rows = [
        row("a", "2026-03-09", "70", "1000", own="70"),
        row("a", "2026-03-02", "20", "500", own="20", title="NOW"),
        row("a", "2026-03-05", "40", "700", own="40"),
        row("b", "2026-03-08", "7", "300", own="7"),
    ]
    selected, frame = columns(rows)
    assert frame["target_raw"].to_dict() == {"a": 70, "b": 7}
    assert frame.loc["a", ["channel_view_count", "title_uppercase"]].tolist() == [500, 1.0]
    assert selected.report.feature_lag_hours == np.median([24, 7 * 24])
    _, before = columns(rows, V2)
    assert before["channel_view_count"].to_dict() == {"a": 1000, "b": 300}


def test_who_was_captured_once_has_its_own_views_taken_out_of_those_of_its_channel():
    rows = [
        row("a", "2026-03-08", "7", "300", own="100", videos="3"),
        row("b", "2026-03-08", "7", "60", own="100", videos="4"),
        row("c", "2026-03-08", "7", "300", own=""),
        row("d", "2026-03-08", "7", "", own="100"),
        row("e", "2026-03-08", "7", "300", own="100"),
        row("e", "2026-03-07", "7", "290", own="90", videos="1"),
    ]
    _, frame = columns(rows)
    # Of c nobody says how many views are its own.
    np.testing.assert_equal(frame["channel_view_count"].to_numpy(), [200, 0, np.nan, np.nan, 290])
    np.testing.assert_equal(frame["channel_median_shorts_view_count"].to_numpy(), [np.nan, 5, 5, 5, 5])
    np.testing.assert_allclose(frame["channel_views_over_videos"]["a"], np.log1p(200) - np.log1p(3))


def test_a_row_that_was_written_twice_or_has_no_time_is_of_the_label_s_capture():
    rows = [
        *(2 * [row("a", "2026-03-08", "7", "300", own="100", videos="2")]),
        row("b", "2026-03-08", "7", "300", own="100"),
        row("b", "soon", "7", "300", own="100"),
        row("c", "soon", "7", "300", own="100"),
        *(row("x", f"2026-03-1{day}", "7", "300", own="100") for day in range(5)),
    ]
    _, frame = columns(rows)
    assert frame.loc[["a", "b", "c"], "channel_view_count"].tolist() == [200, 200, 200]
    assert np.isnan(frame.loc["a", "channel_median_shorts_view_count"])


@pytest.mark.parametrize(
    ("absent", "lost"),
    [("view_count", "channel_view_count"), ("channel_video_count", "channel_median_shorts_view_count")],
)
def test_what_cannot_be_corrected_is_missing(absent, lost):
    header = [name for name in HEADER if name != absent]
    rows = [row(name, "2026-03-08", "7", "300", own="100") for name in ("a", "b")]
    cells = [[cell for name, cell in zip(HEADER, one, strict=True) if name != absent] for one in rows]
    assert lost not in select(to_csv(cells, header), feature_set=V3).report.features.numeric_cols
    assert lost in select(to_csv(cells, header), feature_set=V2).report.features.numeric_cols


def test_nothing_is_computed_from_what_is_excluded():
    file = scan(to_csv([row("a", "2026-03-08", "7", "300", own="100")], HEADER), feature_set=V3)[Horizon.D7]
    exclude = ("channel_view_count", "title")
    features = set(select_horizon(file, Horizon.D7, WHERE, V3, (), exclude).report.features.numeric_cols)
    assert not features & {"channel_view_count", "channel_views_over_videos", "title_words", "title_uppercase"}
    assert {"published_hour_sin", "channel_video_count"} <= features


def test_own_views_and_texts_themselves_are_no_features():
    selected, frame = columns([row("a", "2026-03-08", "7", "300", own="100"), row("b", "2026-03-08", "7", "300")])
    assert not {"view_count", "title", "\x00view_count"} & set(frame.columns)
    assert {"title_words", "published_hour_sin", "channel_views_over_videos"} < set(
        selected.report.features.numeric_cols
    )
    assert not set(NAMES) & set(selected.report.absent)


def test_the_other_feature_sets_compute_nothing():
    selected, _ = columns([row("a", "2026-03-08", "7", "300", own="100")], V2)
    assert not set(NAMES) & set(selected.report.features.numeric_cols)


@pytest.mark.parametrize(("feature_set", "words"), [(V3, 2), (V2, 99)])
def test_a_column_of_the_file_that_is_called_like_a_computed_one_is_not_read(feature_set, words):
    body = to_csv([[*row("a", "2026-03-08", "7", "300", title="one two"), "99"]], [*HEADER, "title_words"])
    assert select(body, feature_set=feature_set).frame["title_words"].tolist() == [words]


def test_a_column_without_what_it_is_computed_from_is_left_out():
    header = [name for name in HEADER if name != "title"]
    rows = [[cell for name, cell in zip(HEADER, row("a", "2026-03-08", "7", "300"), strict=True) if name != "title"]]
    features = select(to_csv(rows, header), feature_set=V3).report.features.numeric_cols
    assert not {"title_words", "thumb_pixels", "subscribers_over_videos"} & set(features)


def test_texts_that_are_not_utf8_cost_their_statistics_and_not_the_run():
    body = to_csv([row("a", "2026-03-08", "7", "300", title="TITLE"), row("b", "2026-03-08", "7", "3")], HEADER)
    selected = select(body.replace(b"TITLE", b"caf\xe9").replace(b"Hi", b"caf\xe8"), feature_set=V3)
    assert selected.report.unreadable["title_words"] == 2
    assert selected.report.examples["title"] == "caf\\xe9"


def test_without_a_time_of_publication_the_first_capture_is_the_nearest():
    rows = [row("a", f"2026-03-0{day}", "7", str(day), published="") for day in (5, 4, 6)]
    selected, frame = columns(rows)
    assert frame["channel_view_count"].tolist() == [4]
    assert selected.report.feature_lag_hours is None
