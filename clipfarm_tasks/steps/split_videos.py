"""Deal the labelled videos of a horizon into train, val and test, once for all strategies and families."""

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import MetadataRecord, VideoSplitRecord
from clipfarm_tasks.data.losses import check_lost
from clipfarm_tasks.data.split import Part, Unsplit, creators_of, split_rows
from clipfarm_tasks.families import Horizon
from clipfarm_tasks.steps.context import StepContext, parquet_bytes

_LABELS = ["video_id", "target_log", "target_raw"]


def split_videos(context: StepContext, horizon: Horizon) -> VideoSplitRecord:
    """Write every labelled video that is in a part, with its target and its creator, by video_id.

    Raises:
        DataError: fewer than 12 videos can be split, or too many have no readable capture time.
    """
    labels = context.record(MetadataRecord, keys.task_id("filter_metadata", horizon=horizon))
    frame = context.frame(labels.key, labels.sha256, [*_LABELS, "captured_at", "channel_id"])
    frame = frame.assign(creator=creators_of(frame["channel_id"], frame["video_id"]))
    where = f"horizon {int(horizon)} days, run {context.run_id}"
    frame = frame.assign(split=split_rows(frame, context.params, horizon, where))
    sizes = {name: int((frame["split"] == name).sum()) for name in (*Part, *Unsplit)}
    untimed = {Unsplit.NO_CAPTURE_TIME.value: sizes[Unsplit.NO_CAPTURE_TIME]}
    check_lost(untimed, len(frame), context.params.max_lost_fraction, where)
    rows = frame.loc[frame["split"].isin(list(Part)), [*_LABELS, "creator", "split"]].sort_values("video_id")
    key = keys.video_split(context.run_id, horizon)
    return VideoSplitRecord(
        horizon=horizon,
        key=key,
        sha256=context.put_bytes(key, parquet_bytes(rows)),
        n_train=sizes[Part.TRAIN],
        n_val=sizes[Part.VAL],
        n_test=sizes[Part.TEST],
        dropped={reason.value: sizes[reason] for reason in Unsplit if sizes[reason]},
    )
