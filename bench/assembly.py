"""What "assembly" means in the benchmark: from nothing resolved to the arrays that a run's training jobs learn from."""

import itertools
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.part_clock import PartClock
from clipfarm_tasks import keys
from clipfarm_tasks.config import Frozen
from clipfarm_tasks.contracts import VectorsRecord
from clipfarm_tasks.families import Modality, Strategy
from clipfarm_tasks.graph import Task
from clipfarm_tasks.models.inputs import F32
from clipfarm_tasks.steps.catalog import execute
from clipfarm_tasks.steps.context import StepContext, load_config
from clipfarm_tasks.steps.resolve_run import resolve_run
from clipfarm_tasks.storage import Store
from clipfarm_tasks.vectors.table import VectorTable

SIDE_BY_SIDE = "as many tasks side by side as are ready"

_NUMBERS = itertools.count()
_MANIFESTS = [Task("resolve_manifest", strategy) for strategy in Strategy]
_UPDATES = [*(Task("reconstruct_fused", strategy) for strategy in Strategy), Task("reconstruct_modalities")]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Assembled:
    """The arrays, and what they cost.

    Attributes:
        video_ids: (N,) str, sorted: videos whose vectors are usable in every table.
        arrays: by name, (N, D) float32: ``fused_<strategy>`` and the modalities.
        seconds_by_phase: wall time of ``resolve``, ``manifests``, ``update`` and ``read``, one after the other.
        seconds_by_part: wall time by task, and of reading each table; those of a phase overlap.
        peak_by_phase: peak memory of the process up to the end of each phase, bytes.
        objects: objects fetched from upstream.
        object_bytes: their bytes.
    """

    video_ids: NDArray[np.object_]
    arrays: dict[str, F32]
    seconds_by_phase: dict[str, float]
    seconds_by_part: dict[str, float]
    peak_by_phase: dict[str, int]
    objects: int
    object_bytes: int

    @property
    def seconds(self) -> float:
        """Wall time of the whole assembly."""
        return sum(self.seconds_by_phase.values())

    @property
    def array_bytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())


def assemble(store: Store) -> Assembled:
    """Resolve a new run, bring all vector tables up to date, and read its videos' arrays.

    These are the pipeline's own steps in the order of its graph, as many tasks side by side as are ready, here in
    threads of this one process: resolve_run; resolve_manifest of every strategy; reconstruct_fused of every strategy
    and reconstruct_modalities; the reads a training job makes, at the versions that those pinned.
    """
    phases, parts = PartClock(), PartClock()
    with phases.part("resolve"):
        run_id = resolve_run(store, {}, f"bench-{os.getpid()}-{next(_NUMBERS)}").run_id
    with phases.part("manifests"):
        _side_by_side({task.id: _execution(store, run_id, task) for task in _MANIFESTS}, parts)
    with phases.part("update"):
        _side_by_side({task.id: _execution(store, run_id, task) for task in _UPDATES}, parts)
    with phases.part("read"):
        context = StepContext(store, store.settings, load_config(store, run_id))
        records = [context.record(VectorsRecord, task.id) for task in _UPDATES]
        video_ids = _usable(context, records)
        reads = {f"read {record.table}": partial(_read, store, record, video_ids) for record in records}
        found = _side_by_side(reads, parts)
    return Assembled(
        video_ids,
        {name: array for arrays in found for name, array in arrays.items()},
        phases.seconds,
        parts.seconds,
        phases.peak_bytes,
        sum(record.throughput.objects for record in records),
        sum(record.throughput.bytes for record in records),
    )


def phases_line(seconds_by_phase: Mapping[str, float]) -> str:
    """For a row's note: ``as many tasks side by side as are ready; the last run: resolve 0.07 s, ...``."""
    phases = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in seconds_by_phase.items())
    return f"{SIDE_BY_SIDE}; the last run: {phases}"


def _side_by_side(calls: Mapping[str, Callable[[], _T]], clock: PartClock) -> list[_T]:
    """The results of all calls, each made in a thread of its own and timed under its name."""

    def timed(name: str, call: Callable[[], _T]) -> _T:
        with clock.part(name):
            return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(timed, name, call) for name, call in calls.items()]
    return [future.result() for future in futures]


def _execution(store: Store, run_id: str, task: Task) -> Callable[[], Frozen]:
    return partial(execute, task.step, store, store.settings, run_id, task.strategy)


def _usable(context: StepContext, records: list[VectorsRecord]) -> NDArray[np.object_]:
    ids = [set(context.frame(record.rows_key, record.sha256)["video_id"]) for record in records]
    return np.array(sorted(set.intersection(*ids)), dtype=object)


def _read(store: Store, record: VectorsRecord, video_ids: NDArray[np.object_]) -> dict[str, F32]:
    table = VectorTable(store, record.key)
    if record.key == keys.modalities_table():
        return table.read([str(modality) for modality in Modality], video_ids, record.version)
    return {record.table: table.read(["vector"], video_ids, record.version)["vector"]}
