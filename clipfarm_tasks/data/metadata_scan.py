"""The metadata CSV as typed columns: read once from front to back, one block of rows at a time.

What cannot be read is counted, never guessed; a file whose quoting or header leaves the rows in doubt is refused. The
checks of the header live here because they decide what the reader may trust.
"""

from collections.abc import Collection, Iterator
from typing import BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from clipfarm_tasks.data.captures import parse_times
from clipfarm_tasks.data.cells import UNDECODABLE, parse_numbers, parse_text
from clipfarm_tasks.data.columns import KNOWN, PUBLISHED, Kind
from clipfarm_tasks.data.csv_guard import GuardedReader
from clipfarm_tasks.data.features import may_be_feature
from clipfarm_tasks.errors import DataError

BLOCK_BYTES = 8 * 2**20
REQUIRED = ("video_id", "horizon_days", "horizon_view_count")
# No column of the file can have this name: names are printable.
UNREADABLE_TIME = "\x00unreadable_captured_at"
CATEGORY = pa.dictionary(pa.int32(), pa.string())


class MetadataScan:
    """Iterates over a metadata CSV as tables, converting only what may become an id, a label or a feature.

    A table holds the rows of one block that name their video, in file order. Texts, identifiers and leakage columns are
    never converted. Memory is the text the parser reads ahead (32 blocks of 8 MiB) and one converted block.

    Attributes:
        header: all column names of the file, read or not.
        schema: of every table: captured_at (timestamp), whether it was unreadable, the publication's hour and weekday,
            video_id (text), then the label columns and candidate features in the header's order, as float64 (null
            missing, NaN unreadable) or dictionary of text.
        rows_read: rows of the file so far.
        dropped: rows left out so far, by reason: ragged_row, missing_video_id, undecodable_video_id.
    """

    def __init__(self, source: BinaryIO, where: str, extra_features: Collection[str] = ()) -> None:
        """Read the header of ``source``, which need not be seekable; ``where`` is the object, for messages.

        Columns that ``extra_features`` names are read whatever their names say.

        Raises:
            DataError: empty file or broken header.
        """
        self._where = where
        self._reader = GuardedReader(source, where, BLOCK_BYTES)
        self.header = self._reader.read_header()
        _check_header(self.header, where)
        self._wanted = [name for name in self.header if _is_read(name, extra_features)]
        self.schema = _schema(self._wanted)
        self.rows_read = 0
        self.dropped = {"ragged_row": 0, "missing_video_id": 0, "undecodable_video_id": 0}

    def __iter__(self) -> Iterator[pa.Table]:
        """The file's tables; once.

        Raises:
            DataError: no rows, broken quoting, or a record larger than a block.
        """
        try:
            for batch in self._open():
                self.rows_read += batch.num_rows
                yield self._convert(batch)
        except pa.ArrowInvalid as error:
            raise DataError(
                f"expected CSV rows of at most {BLOCK_BYTES} bytes, got {error} ({self._reader.position()}), in "
                f"{self._where}"
            ) from error
        ragged = self.dropped["ragged_row"]
        if self.rows_read == 0:
            got = f"{ragged} rows with another count" if ragged else "a header only"
            raise DataError(f"expected rows of {len(self.header)} fields, got {got}, in {self._where}")
        self.rows_read += ragged

    def _open(self) -> pa_csv.CSVStreamingReader:
        return pa_csv.open_csv(
            self._reader,
            read_options=pa_csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=self._skip),
            convert_options=pa_csv.ConvertOptions(
                check_utf8=False, include_columns=self._wanted, column_types=dict.fromkeys(self._wanted, pa.binary())
            ),
        )

    def _skip(self, _: pa_csv.InvalidRow) -> str:
        self.dropped["ragged_row"] += 1
        return "skip"

    def _convert(self, batch: pa.RecordBatch) -> pa.Table:
        """Convert the cells of one block; rows that do not name their video are counted."""
        video_id = parse_text(batch["video_id"])
        undecodable = pc.equal(video_id, UNDECODABLE)
        self.dropped["missing_video_id"] += video_id.null_count
        self.dropped["undecodable_video_id"] += pc.sum(undecodable).as_py() or 0
        batch = batch.filter(pc.fill_null(pc.invert(undecodable), False))

        columns = dict(_times(batch)) | {"video_id": parse_text(batch["video_id"])}
        for name in self.schema.names[len(columns) :]:
            kind = KNOWN.get(name)
            if kind is Kind.CATEGORICAL:
                columns[name] = pc.cast(parse_text(batch[name]).dictionary_encode(), CATEGORY)
            else:
                columns[name] = parse_numbers(
                    batch[name], numbers=kind is not Kind.BOOLEAN, words=kind in (Kind.BOOLEAN, None)
                )
        return pa.table(columns, schema=self.schema)


def _check_header(header: tuple[str, ...], where: str) -> None:
    for name in header:
        if not name.isprintable():  # surrogates of undecodable bytes included
            raise DataError(f"expected printable UTF-8 column names, got {name!a}, in {where}")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(f"expected every column once, got column {', '.join(map(repr, repeated))} repeated, in {where}")
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise DataError(f"expected the columns {', '.join(REQUIRED)}, got none named {', '.join(missing)}, in {where}")


def _is_read(name: str, extra_features: Collection[str]) -> bool:
    if name in REQUIRED or name in ("captured_at", "published_at"):
        return True
    return name not in PUBLISHED and may_be_feature(name, extra_features)


def _schema(wanted: list[str]) -> pa.Schema:
    first = {
        "captured_at": pa.timestamp("us"),
        UNREADABLE_TIME: pa.bool_(),
        **dict.fromkeys(PUBLISHED, pa.float64()),
        "video_id": pa.string(),
    }
    rest = {
        name: CATEGORY if KNOWN.get(name) is Kind.CATEGORICAL else pa.float64()
        for name in wanted
        if name not in first and KNOWN.get(name) is not Kind.TIMESTAMP
    }
    return pa.schema(first | rest)


def _times(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
    """Capture time and the features of the publication time (UTC hour; weekday with Monday = 0)."""
    absent = pa.nulls(batch.num_rows, pa.string())
    for name in ("captured_at", "published_at"):
        text = parse_text(batch[name]) if name in batch.schema.names else absent
        times = parse_times(text)
        unreadable = np.isnat(times) & pc.is_valid(text).to_numpy(zero_copy_only=False)
        if name == "captured_at":
            yield name, pa.array(times, pa.timestamp("us"))
            yield UNREADABLE_TIME, pa.array(unreadable)
            continue
        stamp = pd.Series(times).dt
        for feature, values in zip(PUBLISHED, (stamp.hour, stamp.day_of_week), strict=True):
            cells = pa.array(values.to_numpy(np.float64), mask=np.isnat(times))
            yield feature, pc.if_else(pa.array(unreadable), float("nan"), cells)
