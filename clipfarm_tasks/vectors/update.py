"""Bring a vector table up to date with what a run wants, and pin a version that holds exactly that."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipfarm_tasks.errors import DataError, TransientError
from clipfarm_tasks.vectors.quarantine import Quarantined, Reason
from clipfarm_tasks.vectors.row_spool import row_spool
from clipfarm_tasks.vectors.table import KEY, VectorTable, vector_widths

_ROUNDS = 5
_COMMIT_BYTES = 256 * 2**20  # as much as a lost worker loses of what it has read; a usual night is one commit
_VERDICT = ["reason", "bad_key", "detail"]


@dataclass(frozen=True)
class Held:
    """What a version of the table holds of some videos.

    Attributes:
        version: the version; 0 where there is no table, or one of other columns.
        rows: identity, extra and verdict columns; one row per video asked for, null where it has no such video.
        usable: how many other wanted rows the version holds that are usable.
    """

    version: int
    rows: pa.Table
    usable: int


Fetch = Callable[[pa.Table, Held], Iterable[pa.RecordBatch]]
IsGone = Callable[[pa.Table], NDArray[np.bool_]]


@dataclass(frozen=True)
class Source:
    """Where the rows of a table come from.

    Attributes:
        wanted: one row per video, sorted by ``video_id``: the columns that say which objects it comes from (all of
            them: the identity of a row).
        extra: further columns of the table that the run needs.
        widths: width by vector column; a table of other widths counts as holding nothing. Empty: any widths.
        fetch: reads the objects of the given rows of ``wanted``, of which the table holds other versions or nothing;
            returns every one of them with its columns for the table, among them the identity that was really read and
            the `verdicts`.
        is_gone: which of the given rows of the table, (N,) bool, upstream has no objects for any more; none of them is
            wanted.
    """

    wanted: pa.Table
    extra: Sequence[str]
    widths: dict[str, int]
    fetch: Fetch
    is_gone: IsGone

    @property
    def identity(self) -> list[str]:
        """Names of the identity columns."""
        return list(self.wanted.column_names)


@dataclass(frozen=True)
class Updated:
    """A version of a table that holds a verdict on every wanted row.

    Attributes:
        version: the version that was verified.
        rows: ``video_id``, identity and extra columns of the usable rows, as that version holds them, by video_id.
        quarantined: the rows that are not usable.
        cached: how many wanted rows had their verdict before.
    """

    version: int
    rows: pa.Table
    quarantined: list[Quarantined]
    cached: int


def verdicts(rows: int, bad: dict[int, Quarantined]) -> dict[str, pa.Array]:
    """The columns that say whether a row is usable: ``bad`` holds those that are not, by position.

    They are kept in the table like the others: an object that was unusable once is not read again until it changes.
    """
    texts = {name: [""] * rows for name in _VERDICT}
    for position, row in bad.items():
        texts["reason"][position], texts["bad_key"][position] = str(row.reason), row.key
        texts["detail"][position] = row.detail
    return {name: pa.array(values, pa.string()) for name, values in texts.items()}


def update_table(table: VectorTable, source: Source) -> Updated:
    """Fetch and merge the wanted rows that the table does not hold; drop those that upstream has no more.

    Another run may write to the table meanwhile, and move a video to another source. What is pinned is therefore a
    version that was read back and holds each wanted row from the wanted source; if it does not, the rest is merged
    again.

    Raises:
        DataError: no wanted row is usable.
        TransientError: other writers moved the rows away every time.
    """
    cached: int | None = None
    for _ in range(_ROUNDS):
        version, everything = _read(table, source)
        at = pc.index_in(source.wanted[KEY], value_set=everything[KEY])
        held = everything.take(at)  # as long as wanted; null where the table has no such video
        is_held = _equal(source.wanted, held)
        cached = int(is_held.sum()) if cached is None else cached
        if not is_held.all():
            new = pa.array(~is_held)
            stale = Held(version, held.filter(new), int((is_held & _is_usable(held)).sum()))
            source = _merge(table, source, source.wanted.filter(new), stale)
            continue
        # Only usable ones: what another run had to judge unusable costs nothing, and would be judged again.
        usable = everything.filter(pa.array(_is_usable(everything)))
        others = usable.filter(pc.invert(pc.is_in(usable[KEY], value_set=source.wanted[KEY])))
        gone = others[KEY].filter(pa.array(source.is_gone(others))).to_pylist()
        if not gone:
            return _updated(table, version, held, cached)
        table.drop(gone)
    raise TransientError(f"expected to pin {table.uri} within {_ROUNDS} rounds, got rows moved by other runs each time")


def _read(table: VectorTable, source: Source) -> tuple[int, pa.Table]:
    """Version and all rows of the table, as far as it has the expected columns; else no rows."""
    names = [*source.identity, *source.extra, *_VERDICT]
    dataset = table.open(None)
    if (
        dataset is not None
        and set(names) <= set(dataset.schema.names)
        and source.widths in ({}, vector_widths(dataset.schema))
    ):
        return int(dataset.version), table.guard(lambda: dataset.to_table(columns=names))
    others = [pa.field(name, pa.string()) for name in names if name not in source.identity]
    return 0, pa.schema([*source.wanted.schema, *others]).empty_table()


def _equal(wanted: pa.Table, held: pa.Table) -> NDArray[np.bool_]:
    columns = [pc.equal(wanted[name], held[name].cast(wanted[name].type)) for name in wanted.column_names]
    equal: NDArray[np.bool_] = pc.fill_null(reduce(pc.and_kleene, columns), False).to_numpy()
    return equal


def _is_usable(rows: pa.Table) -> NDArray[np.bool_]:
    usable: NDArray[np.bool_] = pc.fill_null(pc.equal(rows["reason"], ""), False).to_numpy()
    return usable


def _merge(table: VectorTable, source: Source, new: pa.Table, held: Held) -> Source:
    """Fetch and merge, in commits of bounded size; what is wanted from now on is what was read.

    They differ where an object was overwritten between listing and reading.

    Raises:
        TransientError: the fetch failed; what it had read by then is in the table, so that the next try goes on there.
    """
    read: list[pa.RecordBatch] = []
    failures: list[TransientError] = []
    batches = _until_failure(source.fetch(new, held), failures)
    for first in batches:
        with row_spool() as spool:
            for batch in chain([first], batches):
                spool.write(batch)
                read.append(batch.select(source.identity))
                if spool.nbytes >= _COMMIT_BYTES:
                    break
            table.merge(spool)
    if failures:
        raise failures[0]
    fetched = pa.Table.from_batches(read)
    others = source.wanted.filter(pc.invert(pc.is_in(source.wanted[KEY], value_set=fetched[KEY])))
    return replace(source, wanted=pa.concat_tables([others, fetched]).sort_by(KEY))


def _until_failure(batches: Iterable[pa.RecordBatch], failures: list[TransientError]) -> Iterator[pa.RecordBatch]:
    """What comes before a failure, which is put into the list."""
    try:
        yield from batches
    except TransientError as error:
        failures.append(error)


def _updated(table: VectorTable, version: int, held: pa.Table, cached: int) -> Updated:
    usable = _is_usable(held)
    rejected = held.filter(pa.array(~usable))
    quarantined = [
        Quarantined(row[KEY], row["bad_key"], Reason(row["reason"]), row["detail"])
        for row in rejected.select([KEY, *_VERDICT]).to_pylist()
    ]
    rows = held.filter(pa.array(usable))
    if not rows.num_rows:
        first = f"{quarantined[0].detail} at {quarantined[0].key}" if quarantined else "no row"
        raise DataError(f"expected usable vectors for {table.uri}, got none of {held.num_rows} rows: {first}")
    return Updated(version, rows.drop_columns(_VERDICT), quarantined, cached)
