"""Which versions of the vector tables the kept runs need; kept is a run whose folder still exists."""

import json
import re
from collections import defaultdict
from typing import Any, NamedTuple

from clipfarm_tasks import keys
from clipfarm_tasks.storage import ObjectInfo, Store

_RECONSTRUCT = re.compile(r"reconstruct_(.+)")
_SPLIT = re.compile(r"(.+)_\d+d\.build_split")


class Pins(NamedTuple):
    """What the kept runs pin.

    Attributes:
        runs: how many runs there are that pin a version.
        by_table: ids of the runs that pin a version, by table name and version.
        unreadable: records that do not tell what they pin (addresses), by name of a table that it may be a version of.
    """

    runs: int
    by_table: dict[str, dict[int, set[str]]]
    unreadable: dict[str, list[str]]


def pinned_versions(store: Store) -> Pins:
    """Read what every kept run has recorded of the tables it uses.

    Raises:
        TransientError: the server cannot be reached.
    """
    found: list[tuple[ObjectInfo, str, str]] = []
    for info in store.list(keys.RUNS):
        run_and_task = keys.run_and_task(info.key)
        if run_and_task is not None and _may_pin(run_and_task[1]):
            found.append((info, *run_and_task))
    origin = {info.key: (run_id, task) for info, run_id, task in found}
    by_table: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    unreadable: defaultdict[str, list[str]] = defaultdict(list)
    for info, fetched in store.get_listed(info for info, _, _ in found):
        if fetched is None:
            continue  # somebody deletes this run right now
        run_id, task = origin[info.key]
        versions = _versions(fetched.body)
        if versions is None:
            for table in _may_pin(task):
                unreadable[table].append(store.uri(info.key))
            continue
        for table, version in versions.items():
            by_table[table][version].add(run_id)
    return Pins(
        runs=len({run_id for run_id, _ in origin.values()}),
        by_table={table: dict(pins) for table, pins in by_table.items()},
        unreadable={table: sorted(records) for table, records in unreadable.items()},
    )


def _may_pin(task: str) -> tuple[str, ...]:
    """Names of the tables of which a task's record names a version, whatever strategies its release knew."""
    if found := _RECONSTRUCT.fullmatch(task):
        return (found[1],)
    if found := _SPLIT.fullmatch(task):
        return (f"fused_{found[1]}", keys.table_name(keys.modalities_table()))
    return ()


def _versions(body: bytes) -> dict[str, int] | None:
    """Version by table name out of a record of any release; None where it cannot be told.

    Only the fields that matter are looked at: a record that this release would refuse still pins.
    """
    try:
        record: Any = json.loads(body)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    versions = record["tables"] if "tables" in record else {record.get("table"): record.get("version")}
    if not isinstance(versions, dict) or not versions:
        return None
    told = all(isinstance(table, str) and type(version) is int for table, version in versions.items())
    return versions if told else None
