"""Read the objects of new and changed videos and lay them out as rows of the modality table, thousands at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipfarm_tasks.errors import TransientError
from clipfarm_tasks.families import Modality
from clipfarm_tasks.storage import ObjectInfo, Store
from clipfarm_tasks.vectors.listed import Listed
from clipfarm_tasks.vectors.meter import Meter
from clipfarm_tasks.vectors.modality_rows import REQUIRED, Body, HeldVectors, assemble, widths_of
from clipfarm_tasks.vectors.npy import largest_npy
from clipfarm_tasks.vectors.quarantine import BadVectorError, check_size
from clipfarm_tasks.vectors.table import KEY, VectorTable, vectors
from clipfarm_tasks.vectors.update import Held, verdicts
from clipfarm_tasks.vectors.upstream_keys import UpstreamKeys

KEY_COLUMNS = {modality: f"{modality}_emb_key" for modality in Modality}
ETAG_COLUMNS = {modality: f"{modality}_etag" for modality in Modality}
_SIZE_COLUMNS = {modality: f"{modality}_size" for modality in Modality}  # of the listing; not a column of the table
_ROWS = 2048
_SHARE = 4  # a chunk's objects may take this part of what may be in flight


@dataclass(eq=False)
class _Chunk:
    """Some videos, what the table holds of them (None: nothing), and their objects as far as they have arrived.

    ``awaited`` are the keys of those that have not; ``begun`` says whether they were asked for.
    """

    rows: pa.Table
    held: pa.Table | None
    begun: bool = False
    awaited: set[str] = field(default_factory=set)
    bodies: dict[str, Body] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)

    def column(self, name: str) -> list[str]:
        texts: list[str] = self.rows[name].to_pylist()
        return texts

    def keys(self) -> dict[Modality, list[str]]:
        return {modality: self.column(column) for modality, column in KEY_COLUMNS.items()}

    def is_held(self, modality: Modality) -> list[bool]:
        """Whether the table holds this modality's vector of each video, made of the object that is there now."""
        if self.held is None:
            return [False] * self.rows.num_rows
        there = pc.and_(pc.equal(self.held["reason"], ""), pc.not_equal(self.rows[ETAG_COLUMNS[modality]], ""))
        for column in (KEY_COLUMNS[modality], ETAG_COLUMNS[modality], "rules"):
            there = pc.and_(there, pc.equal(self.rows[column], self.held[column]))
        known: list[bool] = pc.fill_null(there, False).to_pylist()
        return known

    def listed(self, modality: Modality) -> list[ObjectInfo]:
        """What the listing told of each video's object; of one that does not exist, no ETag."""
        sizes = self.rows[_SIZE_COLUMNS[modality]].to_pylist()
        columns = (self.column(KEY_COLUMNS[modality]), sizes, self.column(ETAG_COLUMNS[modality]))
        return [ObjectInfo(*row) for row in zip(*columns, strict=True)]

    def begin(self, judge: "_Judge") -> list[ObjectInfo]:
        """The objects to read: where a required one cannot be used, the others do not matter."""
        keys = self.keys()
        listed = {modality: self.listed(modality) for modality in Modality}
        for modality in Modality:
            for info in listed[modality]:
                error = judge.of(modality, info)
                if error is not None or not info.etag:
                    self.bodies[info.key] = error
        required = zip(*(keys[modality] for modality in REQUIRED), strict=True)
        whole = [not any(key in self.bodies for key in row) for row in required]
        wanted: dict[str, ObjectInfo] = {}
        for modality in Modality:
            rows = zip(listed[modality], whole, self.is_held(modality), strict=True)
            wanted |= {
                info.key: info for info, readable, held in rows if readable and not held and info.key not in self.bodies
            }
        self.begun, self.awaited = True, set(wanted)
        return list(wanted.values())

    def arrived(self) -> Self:
        """The videos whose objects have all arrived."""
        named = zip(*self.keys().values(), strict=True)
        whole = pa.array([self.begun and self.awaited.isdisjoint(keys) for keys in named], pa.bool_())
        return replace(self, rows=self.rows.filter(whole), held=None if self.held is None else self.held.filter(whole))


@dataclass(frozen=True, eq=False)
class _Judge:
    """What a key and a listing tell of an object before it is read."""

    upstream: UpstreamKeys
    declared: Mapping[Modality, int]

    def of(self, modality: Modality, info: ObjectInfo) -> BadVectorError | None:
        """Why an object is not read, or None."""
        try:
            if info.key and not info.etag:
                self.upstream.check(info.key)
            elif info.etag:
                check_size(info.size, largest_npy(self.declared.get(modality)))
        except BadVectorError as error:
            return error
        return None


def fetch_modalities(
    store: Store,
    table: VectorTable,
    new: pa.Table,
    held: Held,
    listed: Listed,
    declared: Mapping[Modality, int],
    upstream: UpstreamKeys,
    meter: Meter,
) -> Iterator[pa.RecordBatch]:
    """Rows of the table for the videos ``new``: all of them, those that are not usable with the reason.

    One stream of reads runs through all of them, so that the line stays busy while rows are laid out. Memory holds the
    videos whose objects are on their way, not all. Of a video with one changed object, the others are not read again.

    Args:
        store: where to read.
        table: the table that is updated.
        new: ``video_id`` and the keys and ETags of its objects; an empty ETag says that there is none.
        held: what the table holds of them.
        listed: what the listing tells about each object that exists.
        declared: width of each modality. Empty: that of the table, unless more videos are new than it holds usable
            ones: then the most frequent of the first new ones'.
        upstream: where keys may lead.
        meter: counts what is read.

    Raises:
        TransientError: reading failed; the videos that had arrived are yielded before.
        DataError: no width is declared, and no first video has a readable vector to learn it from.
    """
    widths = dict(declared)
    if not widths and held.usable >= new.num_rows:
        widths = {Modality(name): width for name, width in table.widths(held.version).items()}
    # Before the widths are known, a vector of the table may turn out to have another one.
    chunks = list(_chunks(store, _with_sizes(new, listed), held.rows if widths else None))
    waiting: dict[str, list[_Chunk]] = {}
    judge = _Judge(upstream, declared)

    def wanted() -> Iterator[ObjectInfo]:
        for chunk in tuple(chunks):
            for info in chunk.begin(judge):
                waiting.setdefault(info.key, []).append(chunk)
                yield info

    try:
        for info, fetched in store.get_listed(wanted()):
            chunk = waiting[info.key].pop(0)
            chunk.etags[info.key] = "" if fetched is None else fetched.etag
            chunk.bodies[info.key] = None if fetched is None else fetched.body
            if fetched is not None:
                meter.add(fetched.body)
            chunk.awaited.discard(info.key)
            if not chunk.awaited:
                chunks.remove(chunk)
                yield _rows(chunk, table, held.version, widths)
    except TransientError:
        if widths:  # which a part of the first videos must not decide
            whole = (chunk.arrived() for chunk in chunks)
            yield from (_rows(chunk, table, held.version, widths) for chunk in whole if len(chunk.rows))
        raise
    yield from (_rows(chunk, table, held.version, widths) for chunk in chunks)  # nothing had to be read for these


def _with_sizes(new: pa.Table, listed: Listed) -> pa.Table:
    """The wanted videos with the sizes of their objects, of all at once: to look up a thousand keys costs as one."""
    for modality, column in _SIZE_COLUMNS.items():
        new = new.append_column(column, listed.sizes(new[KEY_COLUMNS[modality]]))
    return new


def _chunks(store: Store, new: pa.Table, held: pa.Table | None) -> Iterator[_Chunk]:
    """Cut ``new`` where a chunk has enough rows, or its objects enough bytes."""
    limit = store.settings.in_flight_mib * 2**20 // _SHARE
    sizes = reduce(pc.add, (new[column] for column in _SIZE_COLUMNS.values()))
    start, load = 0, 0
    for end, size in enumerate(sizes.to_pylist()):
        if end > start and (end - start == _ROWS or load + size > limit):
            yield _Chunk(new.slice(start, end - start), None if held is None else held.slice(start, end - start))
            start, load = end, 0
        load += size
    if new.num_rows > start:
        yield _Chunk(new.slice(start), None if held is None else held.slice(start))


def _rows(chunk: _Chunk, table: VectorTable, version: int, widths: dict[Modality, int]) -> pa.RecordBatch:
    keys = chunk.keys()
    if not widths:
        widths |= widths_of(keys, chunk.bodies)
    held = {modality: _held_vectors(chunk, table, version, modality) for modality in Modality}
    rows = assemble(chunk.column(KEY), keys, chunk.bodies, widths, held)
    columns: dict[str, pa.Array] = {KEY: pa.array(chunk.column(KEY), pa.string())}
    for modality in Modality:
        columns[KEY_COLUMNS[modality]] = pa.array(keys[modality], pa.string())
        # The ETag of what was read, which is not the listed one when the object was overwritten or removed since.
        listed = zip(keys[modality], chunk.column(ETAG_COLUMNS[modality]), strict=True)
        read = [chunk.etags.get(key, etag) for key, etag in listed]
        columns[ETAG_COLUMNS[modality]] = pa.array(read, pa.string())
    columns["rules"] = pa.array(chunk.rows["rules"].to_pylist(), pa.int32())
    columns["text_present"] = pa.array(rows.text_present, pa.int8())
    columns |= verdicts(len(chunk.rows), rows.bad)
    columns |= {str(modality): vectors(matrix) for modality, matrix in rows.vectors.items()}
    return pa.record_batch(columns)


def _held_vectors(chunk: _Chunk, table: VectorTable, version: int, modality: Modality) -> HeldVectors:
    positions = np.flatnonzero(chunk.is_held(modality))
    if not positions.size:
        return HeldVectors(positions, np.zeros((0, 0), np.float32))
    video_ids = np.array(chunk.column(KEY), dtype=object)[positions]
    return HeldVectors(positions, table.read([str(modality)], video_ids, version)[str(modality)])
