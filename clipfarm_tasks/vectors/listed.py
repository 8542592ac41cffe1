"""What upstream's folders hold right now, as listings and single questions have told it."""

from collections.abc import Iterable, Sequence
from functools import cached_property, reduce
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipfarm_tasks.storage import ObjectInfo, Store


class Listed:
    """What listings, and questions for single objects, have told of the objects that rows come from."""

    def __init__(self, objects: Iterable[ObjectInfo]) -> None:
        """Take each object once; their order does not matter."""
        self._objects = list(objects)
        self._keys = pa.array([info.key for info in self._objects], pa.string())
        self._etags = pa.array([info.etag for info in self._objects], pa.string())

    @classmethod
    def of(cls, store: Store, folders: Sequence[str], named: Iterable[pa.ChunkedArray]) -> Self:
        """List the folders, each of which tells 1,000 objects with one request; ask for what is named beside them."""
        outside: set[str] = set()
        for names in named:
            inside = reduce(pc.or_, (pc.starts_with(names, folder) for folder in folders))
            outside.update(names.filter(pc.invert(inside)).unique().to_pylist())
        found = store.head_many(outside - {""}).values()
        return cls([*store.list_many(folders), *(info for info in found if info is not None)])

    @cached_property
    def by_key(self) -> dict[str, ObjectInfo]:
        """Size and ETag of each object: for what is fetched, not for all that is wanted."""
        return {info.key: info for info in self._objects}

    def etags(self, names: pa.ChunkedArray) -> pa.ChunkedArray:
        """(N,) string: current ETags of N objects by key, empty for one that does not exist."""
        return pc.fill_null(self._etags.take(pc.index_in(names, value_set=self._keys)), "")

    def missing(self, store: Store, names: pa.ChunkedArray, folder: str) -> NDArray[np.bool_]:
        """Which of N objects, by key, do not exist: (N,) bool; of an object outside of ``folder`` nothing is known.

        The listing may be older than what another run has just merged: what it lacks is asked for once more.
        """
        unlisted = pc.and_(pc.starts_with(names, folder), pc.invert(pc.is_in(names, value_set=self._keys)))
        asked = store.head_many(names.filter(unlisted).unique().to_pylist())
        gone = pa.array([name for name, info in asked.items() if info is None], pa.string())
        missing: NDArray[np.bool_] = pc.is_in(names, value_set=gone).to_numpy()
        return missing
