"""Join labels with vectors on video_id and assign every video to train, val or test."""

import hashlib

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import MetadataRecord, SplitRecord, VectorsRecord
from clipfarm_tasks.data.join import METADATA_COLUMNS, join_pair
from clipfarm_tasks.data.split import split_rows
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Horizon, Strategy
from clipfarm_tasks.steps.context import StepContext, parquet_bytes

_COLUMNS = ["video_id", "split", "text_present", "target_log", "target_raw"]


def build_split(context: StepContext, strategy: Strategy, horizon: Horizon) -> SplitRecord:
    """Write the split manifest of a pair; every family of the pair trains on exactly these rows and table versions.

    A repeated attempt keeps the record of the first: jobs may have trained on it, and other runs move the tables on.

    Raises:
        DataError: the join is empty or has fewer than 12 rows; or the split of an earlier attempt is lost for good.
    """
    task = keys.task_id("build_split", strategy, horizon)
    standing = context.standing(SplitRecord, task)
    if standing is not None and context.holds(standing.key, standing.sha256):
        return standing
    labels = context.record(MetadataRecord, keys.task_id("filter_metadata", horizon=horizon))
    fused = context.record(VectorsRecord, keys.task_id("reconstruct_fused", strategy))
    modalities = context.record(VectorsRecord, keys.task_id("reconstruct_modalities"))
    where = f"{strategy}, horizon {int(horizon)} days, run {context.run_id}"
    joined = join_pair(
        context.frame(labels.key, labels.sha256, METADATA_COLUMNS),
        context.frame(fused.rows_key, fused.sha256)["video_id"],
        context.frame(modalities.rows_key, modalities.sha256),
        where,
    )
    params = context.params
    frame = joined.frame.assign(
        split=split_rows(
            joined.frame,
            params.split_strategy,
            (params.train_ratio, params.val_ratio, params.test_ratio),
            params.seed,
            where,
        )
    )
    body = parquet_bytes(frame[_COLUMNS])
    sha256 = hashlib.sha256(body).hexdigest()
    key = keys.split_manifest(context.run_id, strategy, horizon, sha256)
    if standing is not None and standing.sha256 != sha256:
        raise DataError(
            f"expected the split of run {context.run_id} at {context.store.uri(standing.key)}, got it lost, and the "
            "vector tables have moved on since: start a new run"
        )
    context.put_bytes(key, body)
    sizes = frame["split"].value_counts()
    record = SplitRecord(
        strategy=strategy,
        horizon=horizon,
        key=key,
        sha256=sha256,
        n_train=int(sizes["train"]),
        n_val=int(sizes["val"]),
        n_test=int(sizes["test"]),
        tables={fused.table: fused.version, modalities.table: modalities.version},
        dropped={
            fused.table: fused.quarantined,
            modalities.table: modalities.quarantined,
            "join": joined.dropped,
        },
        assembly={vectors.table: vectors.throughput.model_dump() for vectors in (fused, modalities)},
    )
    return standing or context.settle(task, record)
