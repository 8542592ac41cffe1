"""A table turned on disk."""

import io

import pyarrow as pa

from clipfarm_tasks.data.column_spool import ColumnSpool

TABLE = pa.table({"n": pa.array([1.5, None, 3.0, 4.0, 5.0]), "text": pa.array(["a", None, "", "\u00e9", "long " * 99])})


def pieces(cells, rows):
    return (cells.slice(start, rows) for start in range(0, len(cells), rows))


def test_parts_are_those_of_the_table():
    for rows in (1, 2, 5):
        spool = ColumnSpool(io.BytesIO())
        for field in TABLE.schema:
            spool.add(field, pieces(TABLE[field.name].combine_chunks(), rows))
        parts = [*spool.parts()]
        assert [part.num_rows for part in parts] == [len(cells) for cells in pieces(TABLE["n"], rows)]
        assert pa.concat_tables(parts).equals(TABLE)


def test_a_piece_takes_the_room_of_its_own_rows():
    whole, one = io.BytesIO(), io.BytesIO()
    cells = pa.array(range(100_000), pa.float64())
    ColumnSpool(whole).add(pa.field("n", pa.float64()), [cells])
    ColumnSpool(one).add(pa.field("n", pa.float64()), pieces(cells, 1000))
    assert len(one.getvalue()) < 1.2 * len(whole.getvalue())
