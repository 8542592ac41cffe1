"""Bring a vector table up to date with what a run wants, and pin a version that holds exactly that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from clipfarm_tasks.data.quarantine import Quarantined
from clipfarm_tasks.errors import DataError, TransientError
from clipfarm_tasks.vector_tables import KEY, VectorTable

_ROUNDS = 5

Fetch = Callable[[pd.DataFrame], tuple[pa.Table | None, list[Quarantined]]]


@dataclass(frozen=True)
class Updated:
    """A version of a table that holds every usable row as wanted.

    Attributes:
        version: the version that was verified.
        rows: identity and extra columns of the usable rows, as that version holds them, sorted by video_id.
        quarantined: the rows that are not usable.
        cached: how many wanted rows the table held before.
    """

    version: int
    rows: pd.DataFrame
    quarantined: list[Quarantined]
    cached: int


def update_table(
    table: VectorTable,
    wanted: pd.DataFrame,
    identity: Sequence[str],
    extra: Sequence[str],
    widths: dict[str, int],
    fetch: Fetch,
) -> Updated:
    """Fetch and merge the wanted rows that the table does not hold.

    Another run may write to the table meanwhile, and move a video to another source. What is pinned is therefore a
    version that was read back and holds each wanted row from the wanted source; if it does not, the rest is merged
    again.

    Args:
        table: the table; it may not exist yet.
        wanted: one row per video: the ``identity`` columns.
        identity: columns that say which source a row came from, ``video_id`` included.
        extra: further columns to return.
        widths: width by vector column; a table of other widths counts as holding nothing. Empty: any widths.
        fetch: gets the rows to fetch; returns them for the table, with the identity that was really read, and the
            unusable ones.

    Raises:
        DataError: no wanted row is usable.
        TransientError: other writers moved the rows away every time.
    """
    quarantined: dict[str, Quarantined] = {}
    cached: int | None = None
    for _ in range(_ROUNDS):
        version, held = _held(table, [*identity, *extra], widths)
        is_held = pd.MultiIndex.from_frame(wanted[identity]).isin(pd.MultiIndex.from_frame(held[identity]))
        cached = int(is_held.sum()) if cached is None else cached
        new = wanted[~is_held & ~wanted[KEY].isin(quarantined)]
        if new.empty:
            return _pinned(table, version, held, wanted, identity, list(quarantined.values()), cached)
        rows, bad = fetch(new)
        quarantined |= {row.video_id: row for row in bad}
        if rows is not None and len(rows):
            # An object that was overwritten between listing and reading: what was read is what is wanted.
            wanted = _with_identity(wanted, rows.select(list(identity)).to_pandas())
            table.merge(rows)
    raise TransientError(f"expected to pin {table.uri} within {_ROUNDS} rounds, got rows moved by other runs each time")


def _held(table: VectorTable, columns: list[str], widths: dict[str, int]) -> tuple[int | None, pd.DataFrame]:
    version = table.version()
    nothing = pd.DataFrame(columns=columns)
    if version is None or (widths and table.widths(version) != widths):
        return None, nothing
    held = table.columns(columns, version)
    return version, nothing if held is None else held.to_pandas()


def _with_identity(wanted: pd.DataFrame, fetched: pd.DataFrame) -> pd.DataFrame:
    others = wanted[~wanted[KEY].isin(fetched[KEY])]
    return pd.concat([others, fetched]).sort_values(KEY, ignore_index=True)


def _pinned(
    table: VectorTable,
    version: int | None,
    held: pd.DataFrame,
    wanted: pd.DataFrame,
    identity: Sequence[str],
    quarantined: list[Quarantined],
    cached: int,
) -> Updated:
    usable = pd.MultiIndex.from_frame(held[identity]).isin(pd.MultiIndex.from_frame(wanted[identity]))
    if version is None or not usable.any():
        first = f"{quarantined[0].detail} at {quarantined[0].key}" if quarantined else "no row"
        raise DataError(f"expected usable vectors for {table.uri}, got none of {len(wanted)} rows: {first}")
    rows = held[usable].sort_values(KEY, ignore_index=True)
    # Another run may have got hold of a row that was unusable a moment ago.
    still_bad = [row for row in quarantined if row.video_id not in set(rows[KEY])]
    return Updated(version, rows, still_bad, cached)
