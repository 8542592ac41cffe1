"""The floor under any assembly: fetch the same objects with obstore, as fast as it goes, and throw the bytes away."""

import asyncio
import io
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import obstore
from obstore.store import S3Store

from bench.baseline import latest_rows
from bench.sample import Sample, repeated
from clipfarm_tasks import keys
from clipfarm_tasks.errors import TransientError
from clipfarm_tasks.families import Modality, Strategy
from clipfarm_tasks.storage import Store
from clipfarm_tasks.storage.errors import S3_ERRORS

_CONCURRENCY = (32, 64, 128, 256)


@dataclass(frozen=True)
class Floor:
    """The fastest way found.

    Attributes:
        seconds: its runs.
        how: which it is.
        run: fetches once more; returns its seconds.
    """

    seconds: Sample
    how: str
    run: Callable[[], float]


def wanted_keys(store: Store) -> list[str]:
    """Every object a cold assembly fetches: what the manifests' latest rows name, of videos that can be assembled."""
    present = {info.key for modality in Modality for info in store.list(keys.embeddings_prefix(modality))}
    found: set[str] = set()
    for strategy in Strategy:
        rows = latest_rows(io.BytesIO(store.get(keys.fused_manifest(strategy))))
        found.update(rows["fused_key"])
        usable = rows[rows["video_emb_key"].isin(present) & rows["audio_emb_key"].isin(present)]
        found.update(usable["video_emb_key"], usable["audio_emb_key"])
        found.update(present.intersection(usable.loc[usable["text_present"] == 1, "text_emb_key"]))
    return sorted(found)


def measure_floor(client: S3Store, wanted: Sequence[str], repeats: int) -> Floor:
    """Try threads and coroutines at each degree of concurrency, then repeat the fastest.

    Raises:
        TransientError: an object cannot be fetched.
    """
    try:
        return _fastest(client, wanted, repeats)
    except S3_ERRORS as error:
        raise TransientError(f"expected every object of the floor, got {type(error).__name__}: {error}") from error


def _fastest(client: S3Store, wanted: Sequence[str], repeats: int) -> Floor:
    tried: dict[tuple[str, int], float] = {}
    ways = {"threads": with_threads, "coroutines": with_coroutines}
    for (name, way), limit in itertools.product(ways.items(), _CONCURRENCY):
        tried[name, limit] = way(client, wanted, limit)
    fastest, best = min(tried, key=lambda found: tried[found])
    run = partial(ways[fastest], client, wanted, best)
    return Floor(repeated(run, repeats), f"{best} {fastest}", run)


def with_threads(client: S3Store, wanted: Sequence[str], limit: int) -> float:
    """Seconds to fetch all with that many threads."""
    began = time.perf_counter()
    with ThreadPoolExecutor(limit) as pool:
        for _ in pool.map(lambda key: len(obstore.get(client, key).bytes()), wanted):
            pass
    return time.perf_counter() - began


def with_coroutines(client: S3Store, wanted: Sequence[str], limit: int) -> float:
    """Seconds to fetch all with that many coroutines."""

    async def take(waiting: Iterator[str]) -> None:
        for key in waiting:
            await (await obstore.get_async(client, key)).bytes_async()

    async def take_all() -> None:
        waiting = iter(wanted)
        await asyncio.gather(*(take(waiting) for _ in range(limit)))

    began = time.perf_counter()
    asyncio.run(take_all())
    return time.perf_counter() - began
