"""A table and a few numbers in one Arrow file, of which the same content gives the same bytes."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa


def write_arrow(path: Path, table: pa.Table, numbers: Mapping[str, float]) -> Path:
    """Write a table, and named numbers in the metadata of its schema, creating the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    named = table.replace_schema_metadata({name: repr(float(value)) for name, value in numbers.items()})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, named.schema) as writer:
        writer.write_table(named)
    return path


def read_arrow(path: Path) -> tuple[pa.Table, dict[str, float]]:
    """Read what `write_arrow` wrote.

    Raises:
        FileNotFoundError: there is no such file.
    """
    with pa.memory_map(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
    return table, {name.decode(): float(value) for name, value in (table.schema.metadata or {}).items()}
