"""What a finished training job spent on reading its fused vectors."""

import time

from bench.buckets import DataSet
from clipfarm_tasks import keys
from clipfarm_tasks.contracts import SplitRecord
from clipfarm_tasks.families import Horizon, Strategy
from clipfarm_tasks.steps.context import StepContext, load_config
from clipfarm_tasks.vectors.table import VectorTable


def table_read_s(data_set: DataSet, run_id: str, strategy: Strategy) -> float:
    """Seconds of reading the fused vectors of a run's 7-day pair again, at the version it is pinned to."""
    store = data_set.store
    context = StepContext(store, store.settings, load_config(store, run_id))
    split = context.record(SplitRecord, keys.task_id("build_split", strategy, Horizon.D7))
    video_ids = context.frame(split.key, split.sha256)["video_id"].to_numpy(dtype=object)
    table = VectorTable(store, keys.fused_table(strategy))
    began = time.perf_counter()
    table.read(["vector"], video_ids, split.tables[keys.table_name(table.key)])
    return time.perf_counter() - began
