"""The metadata CSV as typed columns: read once from front to back, one block of rows at a time.

What cannot be read is counted, never guessed; a file whose quoting or header leaves the rows in doubt is refused. The
checks of the header live here because they decide what the reader may trust.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from typing import BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.data.captures import parse_times
from clipfarm_tasks.data.cells import UNDECODABLE, parse_numbers, parse_text
from clipfarm_tasks.data.columns import KNOWN, PUBLISHED, Kind
from clipfarm_tasks.data.computed_features import NAMES as COMPUTED_NAMES
from clipfarm_tasks.data.computed_features import TEXTS, text_statistics
from clipfarm_tasks.data.csv_guard import GuardedReader
from clipfarm_tasks.data.features import may_be_feature
from clipfarm_tasks.errors import DataError

BLOCK_BYTES = 8 * 2**20
REQUIRED = ("video_id", "horizon_days", "horizon_view_count")
# No column of the file can have these names: names are printable.
UNREADABLE_TIME = "\x00unreadable_captured_at"
OWN_VIEWS = "\x00view_count"
CREATOR = "channel_id"  # no feature: whose video it is
CATEGORY = pa.dictionary(pa.int32(), pa.string())
_EXAMPLE_CHARACTERS = 40
_MOST_REPEATED_NAMED = 10


class MetadataScan:
    """Iterates over a metadata CSV as tables, converting only what may become an id, a label or a feature.

    A table holds the rows of one block that name their video, in file order. Texts, leakage columns and identifiers but
    those of the video and its creator are never converted; feature set ``v3`` counts in the texts, and reads the views
    of the video at the capture, which it takes out of those of its channel. Memory is the text the parser reads ahead
    (32 blocks of 8 MiB) and one converted block.

    Attributes:
        header: all column names of the file, read or not, without surrounding blanks.
        schema: of every table: captured_at (timestamp), whether it was unreadable, the publication's hour and weekday,
            the publication itself (timestamp), video_id and channel_id (text), what ``v3`` adds (float64), then the
            label columns and candidate features in the header's order, as float64 (null missing, NaN unreadable) or
            dictionary of text.
        rows_read: rows of the file so far.
        dropped: rows left out so far, by reason: ragged_row, missing_video_id, undecodable_video_id.
        examples: the first cell so far that cannot be read, cut to 40 characters, by column that was read.
    """

    def __init__(
        self, source: BinaryIO, where: str, feature_set: FeatureSet, extra_features: Collection[str] = ()
    ) -> None:
        """Read the header of ``source``, which need not be seekable; ``where`` is the object, for messages.

        Columns that ``extra_features`` names are read whatever their names say.

        Raises:
            DataError: empty file or broken header.
        """
        self._where = where
        self._reader = GuardedReader(source, where, BLOCK_BYTES)
        written = self._reader.read_header()
        self.header = tuple(name.strip() for name in written)
        _check_header(self.header, where)
        beside = (*TEXTS, "view_count") if feature_set is FeatureSet.V3 else ()
        self._beside = [name for name in beside if name in self.header]
        self._wanted = {
            name: raw
            for name, raw in zip(self.header, written, strict=True)
            if name in beside or _is_read(name, feature_set, extra_features)
        }
        self.schema = _schema([name for name in self._wanted if name not in beside], self._beside)
        self.rows_read = 0
        self.dropped = {"ragged_row": 0, "missing_video_id": 0, "undecodable_video_id": 0}
        self.examples: dict[str, str] = {}

    def __iter__(self) -> Iterator[pa.Table]:
        """The file's tables; once.

        Raises:
            DataError: no rows, broken quoting, or a record larger than a block.
        """
        try:
            for batch in self._open():
                self.rows_read += batch.num_rows
                yield self._convert(batch.rename_columns(list(self._wanted)))
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
                check_utf8=False,
                include_columns=list(self._wanted.values()),
                column_types=dict.fromkeys(self._wanted.values(), pa.binary()),
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

        columns = self._times(batch) | {"video_id": parse_text(batch["video_id"]), CREATOR: _creators(batch)}
        for name in self._beside:
            if name in TEXTS:
                texts = parse_text(batch[name])
                columns |= text_statistics(name, texts)
                self._keep_example(name, batch[name], pc.equal(texts, UNDECODABLE))
            else:
                columns[OWN_VIEWS] = parse_numbers(batch[name])
        for name in self.schema.names[len(columns) :]:
            kind = KNOWN.get(name)
            if kind is Kind.CATEGORICAL:
                texts = parse_text(batch[name])
                columns[name] = pc.cast(texts.dictionary_encode(), CATEGORY)
                unreadable = pc.equal(texts, UNDECODABLE)
            else:
                columns[name] = parse_numbers(
                    batch[name], numbers=kind is not Kind.BOOLEAN, words=kind in (Kind.BOOLEAN, None)
                )
                unreadable = pc.is_nan(columns[name])
            self._keep_example(name, batch[name], unreadable)
        return pa.table(columns, schema=self.schema)

    def _times(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """Capture time and the features of the publication time (UTC hour; weekday with Monday = 0)."""
        captured_at, unreadable = self._time(batch, "captured_at")
        columns = {"captured_at": pa.array(captured_at, pa.timestamp("us")), UNREADABLE_TIME: pa.array(unreadable)}
        published_at, unreadable = self._time(batch, "published_at")
        stamp = pd.Series(published_at).dt
        for name, values in zip(PUBLISHED, (stamp.hour, stamp.day_of_week), strict=True):
            cells = pa.array(values.to_numpy(np.float64), mask=np.isnat(published_at))
            columns[name] = pc.if_else(pa.array(unreadable), float("nan"), cells)
        return columns | {"published_at": pa.array(published_at, pa.timestamp("us"))}

    def _time(self, batch: pa.RecordBatch, name: str) -> tuple[NDArray[np.datetime64], NDArray[np.bool_]]:
        """Times of a column, and which of its cells hold something else; NaT where the column is absent."""
        if name not in batch.schema.names:
            return np.full(batch.num_rows, "NaT", "datetime64[us]"), np.zeros(batch.num_rows, np.bool_)
        texts = parse_text(batch[name])
        times = parse_times(texts)
        unreadable: NDArray[np.bool_] = np.isnat(times) & texts.is_valid().to_numpy(zero_copy_only=False)
        self._keep_example(name, batch[name], pa.array(unreadable))
        return times, unreadable

    def _keep_example(self, name: str, cells: pa.Array, unreadable: pa.Array) -> None:
        if name not in self.examples and (position := pc.index(unreadable, True).as_py()) >= 0:
            self.examples[name] = cells[position].as_py().decode(errors="backslashreplace")[:_EXAMPLE_CHARACTERS]


def _creators(batch: pa.RecordBatch) -> pa.Array:
    """Whose video each row is; null where nothing that can be read says it."""
    if CREATOR not in batch.schema.names:
        return pa.nulls(batch.num_rows, pa.string())
    texts = parse_text(batch[CREATOR])
    return pc.if_else(pc.equal(texts, UNDECODABLE), None, texts)


def _check_header(header: tuple[str, ...], where: str) -> None:
    for name in header:
        if not name.isprintable():  # surrogates of undecodable bytes included
            raise DataError(f"expected printable UTF-8 column names, got {name!a}, in {where}")
    # Columns without a name are no features, and a spreadsheet writes any number of them.
    repeated = sorted(name for name, count in Counter(header).items() if name and count > 1)[:_MOST_REPEATED_NAMED]
    if repeated:
        raise DataError(f"expected every column once, got column {', '.join(map(repr, repeated))} repeated, in {where}")
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise DataError(f"expected the columns {', '.join(REQUIRED)}, got none named {', '.join(missing)}, in {where}")


def _is_read(name: str, feature_set: FeatureSet, extra_features: Collection[str]) -> bool:
    if name in REQUIRED or name in ("captured_at", "published_at", CREATOR):
        return True
    computed = (*PUBLISHED, *COMPUTED_NAMES) if feature_set is FeatureSet.V3 else PUBLISHED
    return name not in computed and may_be_feature(name, extra_features)


def _schema(wanted: list[str], beside: list[str]) -> pa.Schema:
    first = {
        "captured_at": pa.timestamp("us"),
        UNREADABLE_TIME: pa.bool_(),
        **dict.fromkeys(PUBLISHED, pa.float64()),
        "published_at": pa.timestamp("us"),
        "video_id": pa.string(),
        CREATOR: pa.string(),
        **{column: pa.float64() for name in beside for column in TEXTS.get(name, (OWN_VIEWS,))},
    }
    rest = {
        name: CATEGORY if KNOWN.get(name) is Kind.CATEGORICAL else pa.float64() for name in wanted if name not in first
    }
    return pa.schema(first | rest)
