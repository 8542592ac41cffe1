"""Join the videos of the horizon's split with the vectors of a strategy on video_id."""

import hashlib

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import SplitRecord, VectorsRecord, VideoSplitRecord
from clipfarm_tasks.data.join import JoinedRows, join_pair
from clipfarm_tasks.data.losses import check_lost
from clipfarm_tasks.data.split import MIN_ROWS, Part, Unsplit
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Horizon, Strategy
from clipfarm_tasks.steps.context import StepContext, parquet_bytes

_LOST = ("no_fused_vector", "no_modality_vectors")


def build_split(context: StepContext, strategy: Strategy, horizon: Horizon) -> SplitRecord:
    """Write the split manifest of a pair; every family of the pair trains on exactly these rows and table versions.

    A repeated attempt keeps the record of the first, because jobs may have trained on it.

    Raises:
        DataError: the join is empty, has fewer than 12 rows or none of a part; too many labelled videos are lost; or
            the split of an earlier attempt is lost for good.
    """
    task = keys.task_id("build_split", strategy, horizon)
    standing = context.standing(SplitRecord, task)
    if standing is not None and context.holds(standing.key, standing.sha256):
        return standing
    videos = context.record(VideoSplitRecord, keys.task_id("split_videos", horizon=horizon))
    fused = context.record(VectorsRecord, keys.task_id("reconstruct_fused", strategy))
    modalities = context.record(VectorsRecord, keys.task_id("reconstruct_modalities"))
    where = f"{strategy}, horizon {int(horizon)} days, run {context.run_id}"
    labelled = context.frame(videos.key, videos.sha256)
    joined = join_pair(
        labelled,
        context.frame(fused.rows_key, fused.sha256)["video_id"],
        context.frame(modalities.rows_key, modalities.sha256),
        where,
    )
    lost = {reason: count for reason, count in joined.dropped.items() if reason in _LOST}
    untimed = videos.dropped.get(Unsplit.NO_CAPTURE_TIME, 0)
    if untimed:
        lost[Unsplit.NO_CAPTURE_TIME.value] = untimed
    check_lost(lost, len(labelled) + untimed, context.params.max_lost_fraction, where)
    sizes = _sizes(joined, where)
    body = parquet_bytes(joined.frame)
    sha256 = hashlib.sha256(body).hexdigest()
    if standing is not None and standing.sha256 != sha256:
        raise DataError(
            f"expected the split of run {context.run_id} at {context.store.uri(standing.key)}, got it lost, and what "
            "it was made of has changed since: start a new run"
        )
    key = keys.split_manifest(context.run_id, strategy, horizon, sha256)
    context.put_bytes(key, body)
    record = SplitRecord(
        strategy=strategy,
        horizon=horizon,
        key=key,
        sha256=sha256,
        n_train=sizes[Part.TRAIN],
        n_val=sizes[Part.VAL],
        n_test=sizes[Part.TEST],
        tables={fused.table: fused.version, modalities.table: modalities.version},
        table_ids={fused.table: fused.table_id, modalities.table: modalities.table_id},
        dropped={
            fused.table: fused.quarantined,
            modalities.table: modalities.quarantined,
            "split": videos.dropped,
            "join": joined.dropped,
        },
        assembly={vectors.table: vectors.throughput.model_dump() for vectors in (fused, modalities)},
    )
    return standing or context.settle(task, record)


def _sizes(joined: JoinedRows, where: str) -> dict[Part, int]:
    if len(joined.frame) < MIN_ROWS:
        raise DataError(
            f"expected at least {MIN_ROWS} rows with a label and all vectors, got {len(joined.frame)}, in {where}"
        )
    sizes = {part: int((joined.frame["split"] == part).sum()) for part in Part}
    if not all(sizes.values()):
        counts = ", ".join(f"{part} {size}" for part, size in sizes.items())
        raise DataError(f"expected rows in every part, got {counts}, in {where}")
    return sizes
