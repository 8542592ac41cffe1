"""One assembly in a process of its own, which is how its peak memory can be told."""

import importlib
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from bench.buckets import DataSet
from bench.peak_memory import peak_bytes
from clipfarm_tasks.errors import TransientError


@dataclass(frozen=True)
class Probe:
    """What a process saw that did one assembly and nothing else.

    Attributes:
        seconds: wall time of the assembly; imports come before it.
        seconds_by_phase: the same by phase.
        peak_by_phase: peak memory so far at the end of each phase, bytes.
        videos: videos in the arrays.
        array_bytes: bytes of the arrays.
        objects: objects fetched from upstream.
        object_bytes: their bytes.
        imported_bytes: peak memory before the assembly.
        peak_bytes: peak memory of the process, everything included.
    """

    seconds: float
    seconds_by_phase: dict[str, float]
    peak_by_phase: dict[str, int]
    videos: int
    array_bytes: int
    objects: int
    object_bytes: int
    imported_bytes: int
    peak_bytes: int


def assemble_in_fresh_process(data_set: DataSet) -> Probe:
    """Assemble what is in the bucket in a new process, and let it report.

    Raises:
        TransientError: the process was killed.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(_probe, data_set.environment).result()
    except BrokenProcessPool as error:
        raise TransientError(
            f"expected the process that assembles {data_set.label} to end by itself, got a killed one (most often for "
            "memory)"
        ) from error


def _probe(environment: dict[str, str]) -> Probe:
    os.environ |= environment
    # Steps are imported when they are first executed; that is not part of an assembly.
    for step in ("resolve_manifest", "reconstruct_fused", "reconstruct_modalities"):
        importlib.import_module(f"clipfarm_tasks.steps.{step}")
    from bench.assembly import assemble
    from clipfarm_tasks.config import Settings
    from clipfarm_tasks.storage import open_store

    store = open_store(Settings.from_environment())
    imported = peak_bytes()
    found = assemble(store)
    return Probe(
        seconds=found.seconds,
        seconds_by_phase=found.seconds_by_phase,
        peak_by_phase=found.peak_by_phase,
        videos=len(found.video_ids),
        array_bytes=found.array_bytes,
        objects=found.objects,
        object_bytes=found.object_bytes,
        imported_bytes=imported,
        peak_bytes=peak_bytes(),
    )
