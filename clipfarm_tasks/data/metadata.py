"""The metadata CSV: read in one bounded pass, then one labelled row per video of a horizon.

What cannot be read is counted, never guessed; a file whose quoting or header leaves the rows in doubt is refused. The
checks of the byte stream and of the header live here because they decide what the reader may trust.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from clipfarm_tasks.data.captures import latest_rows, parse_times, time_text
from clipfarm_tasks.data.cells import UNDECODABLE, parse_numbers, parse_text
from clipfarm_tasks.data.columns import KNOWN, PUBLISHED, Kind, names_no_feature
from clipfarm_tasks.data.csv_guard import GuardedReader
from clipfarm_tasks.data.features import FeatureSpec, is_leakage, select_features
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Horizon

BLOCK_BYTES = 8 * 2**20
REQUIRED = ("video_id", "horizon_days", "horizon_view_count")

_UNREADABLE_TIME = "\x00unreadable_"


@dataclass(frozen=True)
class MetadataTable:
    """Every row of the file that names its video, all horizons, in file order.

    Attributes:
        header: all column names of the file, read or not.
        table: video_id; captured_at; the label columns; the candidate features as float64 (null missing, NaN
            unreadable) or dictionary of text. Texts, identifiers and leakage columns were never converted.
        rows_read: rows in the file.
        dropped: rows left out, by reason: ragged_row, missing_video_id, undecodable_video_id.
    """

    header: tuple[str, ...]
    table: pa.Table
    rows_read: int
    dropped: dict[str, int]


@dataclass(frozen=True)
class HorizonRows:
    """One row per video that has a usable label at a horizon.

    Attributes:
        frame: sorted by video_id: video_id, captured_at (UTC text or None), target_raw and target_log (float64), the
            numeric features (float64, NaN missing), the categorical ones (object, None missing). No other column.
        spec: the feature lists.
        rows_read: rows in the file; equals ``len(frame)`` plus everything dropped.
        dropped: rows left out, by reason; a row counts under the first reason that applies to it.
        unreadable: cells of ``frame`` that held something unreadable and became missing, by column.
        missing_rate: fraction of missing cells of ``frame`` (0 to 1), by feature.
    """

    frame: pd.DataFrame
    spec: FeatureSpec
    rows_read: int
    dropped: dict[str, int]
    unreadable: dict[str, int]
    missing_rate: dict[str, float]


def read_metadata(source: BinaryIO, where: str) -> MetadataTable:
    """Stream a metadata CSV, converting only the columns that may become ids, labels or features.

    Memory is one block of text (8 MiB) plus 8 bytes per row and candidate feature.

    Args:
        source: the bytes, read once from where it stands; it need not be seekable.
        where: the object, for messages.

    Raises:
        DataError: empty file, no rows, broken header or quoting, or a record larger than a block.
    """
    reader = GuardedReader(source, where, BLOCK_BYTES)
    header = reader.read_header()
    _check_header(header, where)
    dropped = {"ragged_row": 0, "missing_video_id": 0, "undecodable_video_id": 0}

    def skip(_: pa_csv.InvalidRow) -> str:
        dropped["ragged_row"] += 1
        return "skip"

    wanted = [name for name in header if _is_read(name)]
    rows_read = 0
    tables: list[pa.Table] = []
    try:
        batches = pa_csv.open_csv(
            reader,
            read_options=pa_csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
            convert_options=pa_csv.ConvertOptions(
                check_utf8=False, include_columns=wanted, column_types=dict.fromkeys(wanted, pa.binary())
            ),
        )
        for batch in batches:
            rows_read += batch.num_rows
            tables.append(_convert(batch, dropped))
    except pa.ArrowInvalid as error:
        raise DataError(
            f"expected CSV rows of at most {BLOCK_BYTES} bytes, got {error} ({reader.position()}), in {where}"
        ) from error
    if rows_read == 0:
        got = f"{dropped['ragged_row']} rows with another count" if dropped["ragged_row"] else "a header only"
        raise DataError(f"expected rows of {len(header)} fields, got {got}, in {where}")
    table = pa.concat_tables(tables).unify_dictionaries()
    return MetadataTable(header, table, rows_read + dropped["ragged_row"], dropped)


def select_horizon(table: MetadataTable, horizon: Horizon, where: str) -> HorizonRows:
    """Keep the latest capture of each video at a horizon (rule 1), its target (rule 2) and its features (rule 3).

    The latest capture decides, label or not: a video whose latest row has no usable label is dropped. A negative count
    is 0. An unknown column is numeric if every non-empty cell of the horizon's rows reads as number or boolean and
    they are not all equal; a known feature needs one value to be kept, even if it is the same everywhere.

    Args:
        table: the file.
        horizon: days after publication.
        where: the object, for messages.

    Raises:
        DataError: no row of the horizon, or none with a usable label.
    """
    days = table.table["horizon_days"].to_numpy()
    rows = np.flatnonzero(days == int(horizon))
    if not rows.size:
        found = sorted({int(day) if day.is_integer() else day for day in np.unique(days[~np.isnan(days)]).tolist()})
        raise DataError(f"expected rows with horizon_days = {int(horizon)}, got horizons {found}, in {where}")
    unusable = int(np.isnan(days).sum())
    dropped = table.dropped | {"unusable_horizon": unusable, "other_horizon": len(days) - unusable - rows.size}

    at_horizon = table.table.take(pa.array(rows))
    latest = latest_rows(_objects(at_horizon["video_id"]), at_horizon["captured_at"].to_numpy())
    label = at_horizon["horizon_view_count"].take(pa.array(latest))
    missing = int(label.null_count)
    usable = ~np.isnan(label.to_numpy())
    dropped |= {
        "superseded_capture": rows.size - latest.size,
        "missing_label": missing,
        "unparsable_label": int((~usable).sum()) - missing,
    }
    chosen = at_horizon.take(pa.array(latest[usable]))
    if not chosen.num_rows:
        raise DataError(f"expected rows with a usable horizon_view_count, got none ({dropped}), in {where}")

    numeric = [name for name in _of_type(chosen, pa.float64()) if _is_numeric(name, at_horizon, chosen)]
    categorical = [name for name in _of_type(chosen, _CATEGORY) if _has_text(chosen[name])]
    spec = select_features(table.header, numeric, categorical)
    return _assemble(chosen, spec, table.rows_read, dropped)


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


def _is_read(name: str) -> bool:
    if name in REQUIRED or name in ("captured_at", "published_at"):
        return True
    if is_leakage(name) or name in PUBLISHED:
        return False
    kind = KNOWN.get(name)
    return kind in (Kind.NUMERIC, Kind.BOOLEAN, Kind.CATEGORICAL) or (kind is None and not names_no_feature(name))


_CATEGORY = pa.dictionary(pa.int32(), pa.string())


def _convert(batch: pa.RecordBatch, dropped: dict[str, int]) -> pa.Table:
    """Convert the cells of one block; rows that do not name their video are counted into ``dropped``."""
    video_id = parse_text(batch["video_id"])
    undecodable = pc.equal(video_id, UNDECODABLE)
    dropped["missing_video_id"] += video_id.null_count
    dropped["undecodable_video_id"] += pc.sum(undecodable).as_py() or 0
    batch = batch.filter(pc.fill_null(pc.invert(undecodable), False))

    columns = dict(_times(batch))
    for name in batch.schema.names:
        if name == "video_id":
            columns[name] = parse_text(batch[name])
        elif KNOWN.get(name) is Kind.CATEGORICAL:
            columns[name] = pc.cast(parse_text(batch[name]).dictionary_encode(), _CATEGORY)
        elif KNOWN.get(name) is not Kind.TIMESTAMP:
            kind = KNOWN.get(name)
            columns[name] = parse_numbers(
                batch[name], numbers=kind is not Kind.BOOLEAN, words=kind in (Kind.BOOLEAN, None)
            )
    return pa.table(columns)


def _times(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
    """Capture time and the features of the publication time (UTC hour; weekday with Monday = 0)."""
    absent = pa.nulls(batch.num_rows, pa.string())
    for name in ("captured_at", "published_at"):
        text = parse_text(batch[name]) if name in batch.schema.names else absent
        times = parse_times(text)
        unreadable = np.isnat(times) & pc.is_valid(text).to_numpy(zero_copy_only=False)
        if name == "captured_at":
            yield name, pa.array(times, pa.timestamp("us"))
            yield _UNREADABLE_TIME + name, pa.array(unreadable)
            continue
        stamp = pd.Series(times).dt
        for feature, values in zip(PUBLISHED, (stamp.hour, stamp.day_of_week), strict=True):
            cells = pa.array(values.to_numpy(np.float64), mask=np.isnat(times))
            yield feature, pc.if_else(pa.array(unreadable), float("nan"), cells)


def _of_type(table: pa.Table, kind: pa.DataType) -> list[str]:
    return [field.name for field in table.schema if field.type == kind and field.name not in REQUIRED]


def _is_numeric(name: str, at_horizon: pa.Table, chosen: pa.Table) -> bool:
    values = chosen[name].to_numpy()
    present = values[~np.isnan(values)]
    if name in KNOWN:
        return bool(present.size)
    if pc.any(pc.is_nan(at_horizon[name])).as_py():
        return False
    return bool(np.unique(present).size > 1)


def _has_text(column: pa.ChunkedArray) -> bool:
    return any(text not in (None, UNDECODABLE) for text in column.unique().to_pylist())


def _assemble(chosen: pa.Table, spec: FeatureSpec, rows_read: int, dropped: dict[str, int]) -> HorizonRows:
    target_raw = np.maximum(chosen["horizon_view_count"].to_numpy(), 0.0)
    columns: dict[str, pd.Series | NDArray[np.float64]] = {
        "video_id": pd.Series(_objects(chosen["video_id"]), dtype=object),
        "captured_at": pd.Series(time_text(chosen["captured_at"].to_numpy()), dtype=object),
        "target_raw": target_raw,
        "target_log": np.log1p(target_raw),
    }
    unreadable = {"captured_at": int(pc.sum(chosen[_UNREADABLE_TIME + "captured_at"]).as_py())}
    for name in spec.numeric_cols:
        columns[name] = chosen[name].to_numpy()
        unreadable[name] = int(pc.sum(pc.is_nan(chosen[name])).as_py() or 0)
    for name in spec.categorical_cols:
        texts = _objects(chosen[name])
        bad = texts == UNDECODABLE
        texts[bad] = None
        columns[name] = pd.Series(texts, dtype=object)
        unreadable[name] = int(bad.sum())
    frame = pd.DataFrame(columns)
    features = [*spec.numeric_cols, *spec.categorical_cols]
    return HorizonRows(
        frame=frame,
        spec=spec,
        rows_read=rows_read,
        dropped={reason: count for reason, count in dropped.items() if count},
        unreadable={name: count for name, count in sorted(unreadable.items()) if count},
        missing_rate={name: float(rate) for name, rate in frame[features].isna().mean().items()},
    )


def _objects(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """(N,) text as Python objects, None where null."""
    return np.array(pc.cast(column, pa.string()).to_pylist(), dtype=object)
