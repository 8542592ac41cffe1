"""What upstream's folders hold right now, as listings and single questions have told it."""

from array import array
from binascii import hexlify, unhexlify
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import chain, islice
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipfarm_tasks.storage import ObjectInfo, Store
from clipfarm_tasks.storage.listing import SCHEMA
from clipfarm_tasks.storage.one_heap import give_back

_AT_ONCE = 10_000
_MOST_BYTES = 2**31 - 1  # of text in one Arrow column with offsets of 32 bits, and what a size of 32 bits can say
_MD5 = r'^"[0-9a-f]{32}"$'
_MD5_TEXT = 34  # bytes, with the quotes


class Listed(Mapping[str, ObjectInfo]):
    """What listings, and questions for single objects, have told of the objects that rows come from.

    A mapping from key to size and ETag that takes about seventy bytes an object: columns in the order of the keys,
    where one is found by bisection. ETags are kept as the bytes of the MD5 that they spell, where all of them are one.
    """

    def __init__(self, objects: Iterable[ObjectInfo] = (), pages: Iterable[pa.RecordBatch] = ()) -> None:
        """Take each object once, alone or by the page; their order does not matter."""
        columns = _chunks(pages, objects)
        order = pc.sort_indices(pa.chunked_array(columns[0]))
        self._keys, sizes, etags = (_in_order(chunks, order) for chunks in columns)
        is_small = (pc.max(sizes).as_py() or 0) <= _MOST_BYTES
        self._sizes = sizes.cast(pa.int32(), memory_pool=pa.system_memory_pool()) if is_small else sizes
        self._etags = _md5_bytes(etags) if pc.all(pc.match_substring_regex(etags, _MD5)).as_py() else etags
        _, offsets, text = self._keys.buffers()
        self._ends = memoryview(offsets).cast("i" if pa.types.is_string(self._keys.type) else "q")
        self._text = memoryview(text)
        del order, sizes, etags
        give_back()  # the pages, before what is fetched needs as much again

    @classmethod
    def of(cls, store: Store, folders: Sequence[str], named: Iterable[pa.ChunkedArray]) -> Self:
        """List the folders, each of which tells 1,000 objects with one request; ask for what is named beside them."""
        outside: set[str] = set()
        for names in named:
            inside = reduce(pc.or_, (pc.starts_with(names, folder) for folder in folders))
            outside.update(names.filter(pc.invert(inside)).unique().to_pylist())
        found = store.head_many(outside - {""}).values()
        return cls((info for info in found if info is not None), store.list_many(folders))

    @property
    def by_key(self) -> Mapping[str, ObjectInfo]:
        """Size and ETag of each object: for what is fetched, not for all that is wanted."""
        return self

    def __getitem__(self, key: str) -> ObjectInfo:
        """Size and ETag of one object."""
        wanted = key.encode()  # whose order is that of Arrow
        at = bisect_left(range(len(self)), wanted, key=self._key)
        if at < len(self) and self._key(at) == wanted:
            return ObjectInfo(key, self._sizes[at].as_py(), _spelt(self._etags[at : at + 1])[0].as_py())
        raise KeyError(key)

    def _key(self, at: int) -> bytes:
        return bytes(self._text[self._ends[at] : self._ends[at + 1]])  # a tenth of the time of a scalar's text

    def __iter__(self) -> Iterator[str]:
        """The keys, in order."""
        return (key.as_py() for key in self._keys)

    def __len__(self) -> int:
        """How many objects exist."""
        return len(self._keys)

    def etags(self, names: pa.ChunkedArray) -> pa.ChunkedArray:
        """(N,) string: current ETags of N objects by key, empty for one that does not exist."""
        at = pc.index_in(names.cast(self._keys.type), value_set=self._keys)
        return pc.if_else(at.is_valid(), pa.chunked_array(map(_spelt, self._etags.take(at).chunks), pa.string()), "")

    def sizes(self, names: pa.ChunkedArray) -> pa.ChunkedArray:
        """(N,) int64: sizes in bytes of N objects by key, 0 for one that does not exist."""
        at = pc.index_in(names.cast(self._keys.type), value_set=self._keys)
        return pc.fill_null(self._sizes.take(at), 0).cast(pa.int64())

    def missing(self, store: Store, names: pa.ChunkedArray, folder: str) -> NDArray[np.bool_]:
        """Which of N objects, by key, do not exist: (N,) bool; of an object outside of ``folder`` nothing is known.

        The listing may be older than what another run has just merged: what it lacks is asked for once more.
        """
        is_listed = pc.is_in(names.cast(self._keys.type), value_set=self._keys)
        unlisted = pc.and_(pc.starts_with(names, folder), pc.invert(is_listed))
        asked = store.head_many(names.filter(unlisted).unique().to_pylist())
        gone = pa.array([name for name, info in asked.items() if info is None], pa.string())
        missing: NDArray[np.bool_] = pc.is_in(names, value_set=gone).to_numpy()
        return missing


def _chunks(pages: Iterable[pa.RecordBatch], objects: Iterable[ObjectInfo]) -> list[list[pa.Array]]:
    """The columns apart, so that each can be freed alone."""
    columns: list[list[pa.Array]] = [[pa.nulls(0, kind)] for kind in SCHEMA.types]
    for page in chain(pages, _pages(objects)):
        for chunks, chunk in zip(columns, page.columns, strict=True):
            chunks.append(chunk)
    return columns


def _in_order(chunks: list[pa.Array], order: pa.Array) -> pa.Array:
    """One array of chunks that are freed, in the system's heap: Arrow's own keeps what was freed there."""
    heap = pa.system_memory_pool()
    if pa.types.is_string(chunks[0].type) and sum(chunk.nbytes for chunk in chunks) > _MOST_BYTES:
        chunks[:] = [chunk.cast(pa.large_string()) for chunk in chunks]
    column = pa.concat_arrays(chunks, memory_pool=heap)
    chunks.clear()
    return pc.take(column, order, memory_pool=heap)


def _md5_bytes(etags: pa.Array) -> pa.Array:
    """(N,) binary(16) of ETags that are MD5s in quotes."""
    text = np.frombuffer(etags.buffers()[2], np.uint8, len(etags) * _MD5_TEXT).reshape(-1, _MD5_TEXT)
    return pa.Array.from_buffers(pa.binary(16), len(etags), [None, pa.py_buffer(unhexlify(text[:, 1:-1].tobytes()))])


def _spelt(etags: pa.Array) -> pa.Array:
    """(N,) string: ETags as text, whether they are text or what `_md5_bytes` made of it."""
    if not pa.types.is_fixed_size_binary(etags.type):
        return etags.cast(pa.string())
    text = np.full((len(etags), _MD5_TEXT), ord('"'), np.uint8)
    raw = memoryview(etags.buffers()[1])[etags.offset * 16 :][: len(etags) * 16]
    text[:, 1:-1] = np.frombuffer(hexlify(raw), np.uint8).reshape(-1, _MD5_TEXT - 2)
    ends = np.arange(0, text.size + 1, _MD5_TEXT, dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(etags), [None, pa.py_buffer(ends), pa.py_buffer(text)])


def _pages(objects: Iterable[ObjectInfo]) -> Iterator[pa.RecordBatch]:
    remaining = iter(objects)
    while some := list(islice(remaining, _AT_ONCE)):
        sizes = pa.py_buffer(array("q", [info.size for info in some]))
        columns = [
            _strings([info.key for info in some]),
            pa.Array.from_buffers(pa.int64(), len(some), [None, sizes]),
            _strings([info.etag for info in some]),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _strings(values: list[str]) -> pa.Array:
    """A string array, made without `pyarrow.array`, which imports pandas: forty megabytes."""
    builder = pa.lib.StringBuilder()
    builder.append_values(values)
    return builder.finish()
