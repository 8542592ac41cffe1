import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Horizon, Strategy


def split(upstream, run, **params):
    upstream.upload()
    run.resolve(**params)
    run.step("scan_metadata")
    run.step("filter_metadata", horizon=Horizon.D7)
    return run.step("split_videos", horizon=Horizon.D7)


def test_every_labelled_video_gets_a_part_whether_it_has_vectors_or_not(upstream, run):
    upstream.npy.clear()
    record = split(upstream, run)
    frame = run.frame(record.key)
    assert record.key == keys.video_split(run.id, Horizon.D7)
    assert sorted(frame.columns) == ["creator", "split", "target_log", "target_raw", "video_id"]
    assert frame["video_id"].tolist() == upstream.ids
    assert frame["split"].value_counts().to_dict() == {"train": 16, "val": 3, "test": 5}
    assert (record.n_train, record.n_val, record.n_test, record.dropped) == (16, 3, 5, {})


def test_same_videos_same_bytes_whatever_their_order_and_other_seed_other_split(upstream, run):
    first = split(upstream, run, run_id="one", seed=5)
    upstream.metadata = upstream.metadata.sample(frac=1, random_state=1)
    assert split(upstream, run, run_id="two", seed=5).sha256 == first.sha256
    assert split(upstream, run, run_id="three", seed=6).sha256 != first.sha256


def test_a_channel_is_in_one_part_and_every_other_video_on_its_own(upstream, run):
    upstream.metadata["channel_id"] = upstream.metadata["video_id"].map(
        {name: f"channel{row // 2}" if row < 20 else None for row, name in enumerate(upstream.ids)}
    )
    frame = run.frame(split(upstream, run, split_strategy="creator").key)
    assert frame["creator"].tolist() == [
        *(f"channel{row // 2}" for row in range(20)),
        *(f"video {name}" for name in upstream.ids[20:]),
    ]
    assert (frame.groupby("creator")["split"].nunique() == 1).all()


def test_losses_of_time_and_of_vectors_add_up(upstream, run):
    days = [f"2026-{1 + row // 12:02d}-{1 + row % 12:02d}" for row in range(24)]
    upstream.metadata["captured_at"] = [*days, *days]
    upstream.metadata.loc[upstream.metadata["video_id"].isin(upstream.ids[:3]), "captured_at"] = "soon"
    upstream.manifests[Strategy.CONCAT] = upstream.manifests[Strategy.CONCAT].head(21)
    upstream.upload()
    run.resolve(split_strategy="chronological", embargo_days=0)
    run.vectors()
    with pytest.raises(DataError, match=r"got 6 of 24 \(no_capture_time 3, no_fused_vector 3\), in concat, horizon 7"):
        run.step("build_split", Strategy.CONCAT, Horizon.D7)


@pytest.mark.parametrize("times", [None, "soon"])
def test_captures_without_a_readable_time_are_no_chronological_split(upstream, run, times):
    if times is None:
        upstream.metadata = upstream.metadata.drop(columns="captured_at")
    else:
        upstream.metadata["captured_at"] = times
    with pytest.raises(DataError, match=r"got 0, in horizon 7 days, run run-1: rows with a readable captured_at of 24"):
        split(upstream, run, split_strategy="chronological")


def test_a_few_rows_without_a_time_are_dropped_and_counted_and_too_many_refused(upstream, run):
    days = [f"2026-{1 + row // 12:02d}-{1 + row % 12:02d}" for row in range(24)]
    upstream.metadata["captured_at"] = [*days, *days]
    untimed = upstream.metadata["video_id"].isin(upstream.ids[:3])
    upstream.metadata.loc[untimed, "captured_at"] = "soon"
    record = split(upstream, run, split_strategy="chronological")
    assert record.dropped["no_capture_time"] == 3
    upstream.metadata.loc[upstream.metadata["video_id"].isin(upstream.ids[:5]), "captured_at"] = ""
    with pytest.raises(DataError, match=r"max_lost_fraction = 0.2 .*, got 5 of 24 \(no_capture_time 5\), in horizon 7"):
        split(upstream, run, run_id="run-2", split_strategy="chronological")
