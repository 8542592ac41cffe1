"""Vector tables as they look when runs are days past: superseded since, and each version's date moved back."""

import json
import re
from collections import defaultdict
from datetime import timedelta

import pyarrow as pa

from clipfarm_tasks import keys
from clipfarm_tasks.vectors.table import KEY, VectorTable

VECTORS = "clipfarm/vectors/"
AGE = timedelta(days=2)
SPLIT = re.compile(r"clipfarm/runs/run_id=([^/]+)/records/[a-z_]+_\d+d\.build_split\.json")


def pinned_by_splits(store):
    """(ids of the runs that have split rows, versions by table), out of the records as they lie in the bucket."""
    runs, pins = set(), defaultdict(set)
    for info in store.list("clipfarm/runs/"):
        if found := SPLIT.fullmatch(info.key):
            runs.add(found[1])
            for table, version in json.loads(store.get(info.key))["tables"].items():
                pins[table].add(version)
    return runs, pins


class AgedTables:
    """The tables of the strategies, each with two further versions; what every version held, by table."""

    def __init__(self, store, strategies):
        tables = (keys.modalities_table(), *map(keys.fused_table, strategies))
        self.tables = {keys.table_name(key): VectorTable(store, key) for key in tables}
        for table in self.tables.values():
            row = table.open(None).to_table().slice(0, 1)
            for added in ("superseded", "newest"):
                table.merge(row.set_column(row.schema.get_field_index(KEY), KEY, pa.array([added])))
            move_back(store, table)
        self.before = {
            name: {version: self.content(name, version) for version in self.versions(name)} for name in self.tables
        }

    def versions(self, name):
        return {version["version"] for version in self.tables[name].open(None).versions()}

    def newest(self, name):
        """The newest version before any maintenance."""
        return max(self.before[name])

    def superseded(self, name):
        """Versions that were not the newest before any maintenance."""
        return self.before[name].keys() - {self.newest(name)}

    def content(self, name, version):
        """Every column of every row, by video."""
        rows = self.tables[name].open(version).to_table().to_pylist()
        return {row[KEY]: row for row in rows}


def move_back(store, table):
    """Make every version of a table ``AGE`` older.

    Lance takes no date for a commit. A manifest holds it as a Protobuf field in Unix seconds, of equal length two days
    earlier, so that nothing else in the file moves.
    """
    seconds = {int(version["timestamp"].timestamp()) for version in table.open(None).versions()}
    manifests = [info.key for info in store.list(f"{table.key}/_versions/") if info.key.endswith(".manifest")]
    for key in manifests:
        body = store.get(key)
        [when] = [second for second in seconds if body.count(protobuf(second)) == 1]
        store.put(key, body.replace(protobuf(when), protobuf(when - int(AGE.total_seconds()))))


def protobuf(seconds):
    """Field 1 of a Protobuf message: its tag, then seven bits a byte, lowest first."""
    groups = [seconds >> shift & 127 for shift in range(0, seconds.bit_length(), 7)]
    return bytes([8, *(group | 128 for group in groups[:-1]), groups[-1]])
