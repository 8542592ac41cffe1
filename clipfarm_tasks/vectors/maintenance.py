"""Upkeep of one vector table: few large fragments, and no version that nobody can want any more.

Dropped is what no kept run pins and what was superseded long enough ago. The age of a version counts from the commit
that superseded it, not from its own: a run under way may have looked at the newest version, which after quiet weeks
is weeks old, and a compaction supersedes it a moment later.
"""

import logging
import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import lance
from lance.optimize import Compaction
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from clipfarm_tasks.contracts import TableMaintenance
from clipfarm_tasks.errors import TransientError
from clipfarm_tasks.vectors.table import VectorTable

log = logging.getLogger(__name__)
_TAG = re.compile(r"pinned-v(\d+)")
_COMPACTIONS = 3
# A fragment of this size is left alone. Pinned versions keep the files they were written with: if the whole table were
# one fragment, each compaction would store all of it once more.
_FRAGMENT_BYTES = 64 * 2**20
_FLOAT_BYTES = 4
_NEVER = timedelta(days=36_500)


def maintain_table(
    table: VectorTable, pins: Mapping[int, Collection[str]], superseded_before: datetime, *, dry_run: bool = False
) -> TableMaintenance | None:
    """Tag the pinned versions, compact small fragments, drop what nobody needs; None while the table does not exist.

    Merges and reads may go on meanwhile. The newest version always stays, and so do files younger than 7 days that no
    version names: their writer may be about to commit them.

    Args:
        table: the table.
        pins: ids of the runs that pin a version, by version.
        superseded_before: versions that were superseded later stay. A run that has looked for the newest version but
            not recorded it when ``pins`` was read must have looked after this time.
        dry_run: only count what would be done.

    Raises:
        TransientError: the server cannot be reached.
    """
    dataset = table.open(None)
    ended = {} if dataset is None else _ended(table.guard(dataset.versions))
    for version in sorted(pins.keys() - ended.keys()):
        runs = ", ".join(sorted(pins[version]))
        log.warning("expected version %d of %s, pinned by run %s, got none: it is lost", version, table.uri, runs)
    if dataset is None:
        return None
    tagged = {name: int(tag["version"]) for name, tag in table.guard(dataset.tags.list).items()}
    ours = {version for name, version in tagged.items() if _TAG.fullmatch(name)}
    theirs = {version for name, version in tagged.items() if not _TAG.fullmatch(name)}
    held = pins.keys() & ended.keys()
    doomed = [
        version
        for version, when in ended.items()
        if when is not None and when < superseded_before and version not in held | theirs
    ]
    # An empty list is refused. What an interrupted writer left behind is looked for in any case.
    which: dict[str, Any] = {"versions": doomed} if doomed else {"older_than": _NEVER}
    rows = _rows_per_fragment(table)
    if dry_run:
        removed, added = table.guard(lambda: _planned(dataset, rows))
        explained = table.guard(
            lambda: dataset.explain_cleanup_old_versions(error_if_tagged_old_versions=False, **which)
        )
        dropped, freed = len(doomed), explained.stats.bytes_removed
    else:
        table.guard(lambda: _sync_tags(dataset, ours, held))
        removed, added = _compacted(table, rows)
        stats = table.guard(lambda: dataset.cleanup_old_versions(error_if_tagged_old_versions=False, **which))
        dropped, freed = stats.old_versions, stats.bytes_removed
    return TableMaintenance(
        fragments_removed=removed,
        fragments_added=added,
        versions_dropped=dropped,
        versions_kept=len(ended) - dropped,
        versions_pinned=len(held),
        pins_lost=len(pins) - len(held),
        bytes_freed=freed,
    )


def _ended(versions: list[Any]) -> dict[int, datetime | None]:
    """When each version stopped being the newest; None for the one that is."""
    ordered = sorted(versions, key=lambda version: int(version["version"]))
    ended: dict[int, datetime | None] = {int(ordered[-1]["version"]): None}
    for older, newer in pairwise(ordered):
        ended[int(older["version"])] = newer["timestamp"].astimezone(UTC)  # Lance tells local time, without a zone
    return ended


def _sync_tags(dataset: lance.LanceDataset, ours: Collection[int], pinned: Collection[int]) -> None:
    """Leave one tag for each pinned version; tags of other names are somebody else's."""
    for version in sorted({*pinned} - {*ours}):
        _settle(partial(dataset.tags.create, f"pinned-v{version}", version))
    for version in sorted({*ours} - {*pinned}):
        _settle(partial(dataset.tags.delete, f"pinned-v{version}"))


def _settle(change: Callable[[], None]) -> None:
    """Change a tag, unless another maintenance has just done so."""
    try:
        change()
    except ValueError as error:
        if not any(sign in str(error) for sign in ("Ref conflict error", "Ref not found error")):
            raise


def _rows_per_fragment(table: VectorTable) -> int:
    return max(1, _FRAGMENT_BYTES // (_FLOAT_BYTES * max(1, sum(table.widths().values()))))


def _planned(dataset: lance.LanceDataset, rows_per_fragment: int) -> tuple[int, int]:
    """How many fragments a compaction would remove and add."""
    plan = Compaction.plan(dataset, {"target_rows_per_fragment": rows_per_fragment})
    rows = [sum(fragment.num_rows for fragment in task.fragments) for task in plan.tasks]
    return sum(len(task.fragments) for task in plan.tasks), sum(max(1, count // rows_per_fragment) for count in rows)


def _compacted(table: VectorTable, rows_per_fragment: int) -> tuple[int, int]:
    """Compact; returns how many fragments were removed and added. What does not succeed is left to the next time."""

    def compact() -> tuple[int, int]:
        dataset = table.open(None)
        if dataset is None:
            return 0, 0
        done = table.guard(lambda: dataset.optimize.compact_files(target_rows_per_fragment=rows_per_fragment))
        return done.fragments_removed, done.fragments_added

    # Where a merge was faster, the whole compaction starts over: it was made for fragments that are no more.
    retrying = Retrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_attempt(_COMPACTIONS),
        wait=wait_random_exponential(multiplier=0.5, max=10),
        reraise=True,
    )
    try:
        return retrying(compact)
    except TransientError as error:
        log.warning("compaction of %s is left to the next maintenance: %s", table.uri, error)
        return 0, 0
