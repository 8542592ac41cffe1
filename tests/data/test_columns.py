"""The table of known columns."""

from clipfarm_tasks.data.columns import KNOWN


def test_every_column_has_one_kind_and_the_required_ones_are_known():
    assert len(KNOWN) > 70
    assert {"video_id", "horizon_days", "horizon_view_count", "madeForKids", "channel_view_count"} < set(KNOWN)
