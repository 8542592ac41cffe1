"""One Parquet file per horizon: the typed rows of the metadata CSV, and what the whole CSV told about itself."""

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from clipfarm_tasks.config import FeatureSet, Frozen
from clipfarm_tasks.data.metadata_scan import MetadataScan
from clipfarm_tasks.families import Horizon

GROUP_ROWS = 2**16
MOST_HORIZONS_NAMED = 20
_FACTS = "clipfarm_scan"


class ScanFacts(Frozen):
    """What one pass over a metadata CSV found, whatever the horizon."""

    header: tuple[str, ...] = Field(description="Every column of the CSV")
    rows_read: int = Field(description="Rows in the CSV")
    dropped: dict[str, int] = Field(description="Rows that belong to no horizon, by reason")
    horizons: tuple[float, ...] = Field(description=f"Horizons found, days; the smallest {MOST_HORIZONS_NAMED} of them")
    rows: dict[Horizon, int] = Field(description="Rows written, by horizon")
    examples: dict[str, str] = Field(default={}, description="The first cell that cannot be read, by column")


def write_horizons(
    source: BinaryIO,
    where: str,
    files: Mapping[Horizon, Path | BinaryIO],
    feature_set: FeatureSet,
    extra_features: Collection[str] = (),
) -> ScanFacts:
    """Read a metadata CSV once and write the rows of each horizon to its own Parquet file, in file order.

    Memory is that of `MetadataScan`, and one row group per horizon. A horizon without rows gets a file without rows.

    Args:
        source: the bytes of the CSV; they need not be seekable.
        where: the CSV, for messages.
        files: where to write, by horizon.
        feature_set: what the run computes features from.
        extra_features: columns to keep whatever their names say.

    Raises:
        DataError: the CSV breaks a rule of `MetadataScan`.
    """
    scan = MetadataScan(source, where, feature_set, extra_features)
    found: set[float] = set()
    unusable = 0
    with ExitStack() as stack:
        writers = {horizon: stack.enter_context(_RowGroups(file, scan.schema)) for horizon, file in files.items()}
        for table in scan:
            days = table["horizon_days"].to_numpy()
            unusable += int(np.isnan(days).sum())
            found = set(sorted(found | set(np.unique(days[~np.isnan(days)]).tolist()))[:MOST_HORIZONS_NAMED])
            for horizon, writer in writers.items():
                writer.add(table.filter(pc.equal(table["horizon_days"], float(horizon))))
        facts = ScanFacts(
            header=scan.header,
            rows_read=scan.rows_read,
            dropped=scan.dropped | {"unusable_horizon": unusable},
            horizons=tuple(sorted(found)),
            rows={horizon: writer.rows for horizon, writer in writers.items()},
            examples=scan.examples,
        )
        for writer in writers.values():
            writer.finish(facts)
    return facts


class HorizonFile:
    """A file that `write_horizons` wrote; columns are read when they are asked for."""

    def __init__(self, file: Path | BinaryIO) -> None:
        """Read the facts and the schema, no rows."""
        self._parquet = pq.ParquetFile(file)
        self.facts = ScanFacts.model_validate_json(self._parquet.metadata.metadata[_FACTS.encode()])
        self.schema: pa.Schema = self._parquet.schema_arrow
        self.rows: int = self._parquet.metadata.num_rows

    def column(self, name: str) -> pa.Array:
        """(N,) cells of a column, in file order."""
        return self._parquet.read(columns=[name], use_threads=False)[name].combine_chunks()


class _RowGroups:
    """Collects small tables and writes them as row groups that are worth reading."""

    def __init__(self, file: Path | BinaryIO, schema: pa.Schema) -> None:
        self.rows = 0
        self._writer = pq.ParquetWriter(file, schema)
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def add(self, table: pa.Table) -> None:
        if table.num_rows:
            self.rows += table.num_rows
            self._waiting.append(table)
            self._waiting_rows += table.num_rows
        if self._waiting_rows >= GROUP_ROWS:
            self._write()

    def finish(self, facts: ScanFacts) -> None:
        if self._waiting:
            self._write()
        self._writer.add_key_value_metadata({_FACTS: facts.model_dump_json()})

    def _write(self) -> None:
        # With one dictionary for all chunks; at the first other one the writer would give up dictionary encoding.
        self._writer.write_table(pa.concat_tables(self._waiting).unify_dictionaries())
        self._waiting, self._waiting_rows = [], 0
