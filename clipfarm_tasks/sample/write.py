"""Writes a made-up bucket in upstream's layout: metadata, single vectors, fused shards, manifests, schemas."""

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipfarm_tasks import keys
from clipfarm_tasks.families import Modality, Strategy
from clipfarm_tasks.sample.metadata import metadata_csv
from clipfarm_tasks.sample.shards import DATES, Shard, plan_shards, source_hash
from clipfarm_tasks.sample.vectors import Vectors, fuse, modality_vectors
from clipfarm_tasks.sample.world import SyntheticParams, World, make_world, stream

Item = tuple[str, bytes]
Rows = dict[Strategy, list[dict[str, Any]]]


class ObjectSink(Protocol):
    """The part of a store that writing a sample needs."""

    def put_many(self, items: Iterable[Item]) -> int:
        """Write (key, body) pairs, drawn lazily; returns how many."""
        ...


@dataclass(frozen=True)
class SampleReport:
    """What was written: number of objects, their bytes, number of videos."""

    objects: int
    bytes: int
    videos: int


def write_sample(store: ObjectSink, videos: int = 2000, seed: int = 7, width: int = 768) -> SampleReport:
    """Write the sample; equal arguments write equal bytes.

    Bodies are made shard by shard while they are written, so memory does not grow with the number of vectors. Manifests
    and metadata come last: a reader never sees them point at what is not there yet.

    Args:
        store: where to.
        videos: number of videos, at least 20.
        seed: every value follows from it.
        width: width of each modality's vectors, in columns.

    Raises:
        ConfigError: an argument is below its limit.
    """
    world = make_world(SyntheticParams(videos=videos, seed=seed, width=width))
    rows: Rows = {strategy: [] for strategy in Strategy}
    tally = _Tally()
    store.put_many(tally.counted(_vector_objects(world, rows)))
    store.put_many(tally.counted(_table_objects(world, rows)))
    return SampleReport(objects=tally.objects, bytes=tally.bytes, videos=videos)


@dataclass
class _Tally:
    objects: int = 0
    bytes: int = 0

    def counted(self, items: Iterable[Item]) -> Iterator[Item]:
        for key, body in items:
            self.objects += 1
            self.bytes += len(body)
            yield key, body


def _vector_objects(world: World, rows: Rows) -> Iterator[Item]:
    """Shards and single vectors; fills ``rows`` with the manifest rows that point at them."""
    for shard in plan_shards(world):
        vectors = modality_vectors(world, shard.videos, shard.older)
        yield from _single_vectors(world, shard, vectors)
        for strategy in Strategy:
            yield keys.fused_shard(strategy, shard.date, shard.part), _shard_body(world, shard, strategy, vectors)
            rows[strategy].extend(_manifest_rows(world, shard, strategy))


def _single_vectors(world: World, shard: Shard, vectors: Vectors) -> Iterator[Item]:
    for modality in Modality:
        for row in np.flatnonzero(~shard.older):
            video = shard.videos[row]
            absent = world.lost[modality][video] or (modality is Modality.TEXT and not world.text_present[video])
            if not absent:
                buffer = io.BytesIO()
                np.save(buffer, vectors[modality][row], allow_pickle=False)
                yield keys.embedding(modality, str(world.video_ids[video])), buffer.getvalue()


def _shard_body(world: World, shard: Shard, strategy: Strategy, vectors: Vectors) -> bytes:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        video_ids=world.video_ids[shard.videos],
        vectors=fuse(strategy, vectors, world.text_present[shard.videos]),
        captured_at=shard.captured_at,
    )
    return buffer.getvalue()


def _manifest_rows(world: World, shard: Shard, strategy: Strategy) -> Iterator[dict[str, Any]]:
    columns = zip(shard.videos.tolist(), shard.older.tolist(), shard.captured_at.tolist(), strict=True)
    for index, (video, older, captured_at) in enumerate(columns):
        video_id = str(world.video_ids[video])
        present = bool(world.text_present[video])
        yield {
            "video_id": video_id,
            "captured_at": captured_at,
            "source_hash": source_hash(video_id, older=older),
            "fusion_strategy": str(strategy),
            "fused_dim": _fused_dim(strategy, world.params.width),
            "fused_key": keys.fused_shard(strategy, shard.date, shard.part),
            "shard_idx": index,
            "shard_n": len(shard),
            **{f"{modality}_emb_key": keys.embedding(modality, video_id) for modality in Modality},
            "text_present": int(present),
            "text_source": "full" if present else "placeholder",
            "text_state_status": "" if present else "no_captions",
            "text_missing_reason": "" if present else "terminal_text_status:no_captions",
            "fusion_status": "success_full" if present else "success_text_placeholder",
            "retry_count_at_write": int(older),
        }


def _table_objects(world: World, rows: Rows) -> Iterator[Item]:
    for strategy in Strategy:
        order = stream(world.params, "manifest-order").permutation(len(rows[strategy]))
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([rows[strategy][row] for row in order]), buffer)
        yield keys.fused_manifest(strategy), buffer.getvalue()
        yield keys.fused_schema(strategy), json.dumps(_schema(strategy, world.params.width), indent=2).encode()
    yield keys.METADATA_CSV, metadata_csv(world)


def _schema(strategy: Strategy, width: int) -> dict[str, Any]:
    return {
        "fusion_strategy": str(strategy),
        **{f"{modality}_dim": width for modality in Modality},
        "fused_dim": _fused_dim(strategy, width),
        "mask_appended": True,
        "updated_at": f"{DATES[-1]}T00:00:00+00:00",
    }


def _fused_dim(strategy: Strategy, width: int) -> int:
    return (len(Modality) if strategy is Strategy.CONCAT else 1) * width + 1
