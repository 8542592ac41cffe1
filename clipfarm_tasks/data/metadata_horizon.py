"""One labelled row per video of a horizon: the latest capture, its target, its features."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipfarm_tasks.data.captures import latest_rows, time_text
from clipfarm_tasks.data.cells import UNDECODABLE
from clipfarm_tasks.data.columns import KNOWN
from clipfarm_tasks.data.features import FeatureSpec, select_features
from clipfarm_tasks.data.metadata_files import HorizonFile
from clipfarm_tasks.data.metadata_scan import CATEGORY, REQUIRED, UNREADABLE_TIME
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Horizon

PART_ROWS = 2**19


@dataclass(frozen=True)
class HorizonRows:
    """Which rows of a horizon's file are kept, one per video, and what becomes of their columns.

    Attributes:
        chosen: (M,) int64 positions in the file of the rows that have a usable label, in the order of their video_id.
        spec: the feature lists.
        rows_read: rows in the CSV; equals M plus everything dropped.
        dropped: rows left out, by reason; a row counts under the first reason that applies to it.
        unreadable: cells of the chosen rows that held something unreadable and became missing, by column.
        missing_rate: fraction of missing cells of the chosen rows (0 to 1), by feature.
    """

    chosen: NDArray[np.int64]
    spec: FeatureSpec
    rows_read: int
    dropped: dict[str, int]
    unreadable: dict[str, int]
    missing_rate: dict[str, float]


@dataclass(frozen=True)
class _Feature:
    """A candidate: whether it can be used, and how many cells of the chosen rows are unreadable or missing at all."""

    usable: bool
    unreadable: int
    missing: int


def select_horizon(
    file: HorizonFile,
    horizon: Horizon,
    where: str,
    extra_features: Collection[str] = (),
    exclude_features: Collection[str] = (),
) -> HorizonRows:
    """Keep the latest capture of each video at a horizon (rule 1), its target (rule 2) and its features (rule 3).

    The latest capture decides, label or not: a video whose latest row has no usable label is dropped. An unknown column
    is numeric if every non-empty cell of the horizon's rows reads as number or boolean and they are not all equal; a
    known feature needs one value to be kept, even if it is the same everywhere. One column is in memory at a time.

    Args:
        file: the rows of the horizon.
        horizon: days after publication.
        where: the CSV, for messages.
        extra_features: see `select_features`.
        exclude_features: see `select_features`.

    Raises:
        DataError: no row of the horizon, or none with a usable label.
        ConfigError: a feature that was asked for by name cannot be used.
    """
    facts = file.facts
    if not file.rows:
        found = [int(day) if day.is_integer() else day for day in facts.horizons]
        raise DataError(f"expected rows with horizon_days = {int(horizon)}, got horizons {found}, in {where}")
    latest = latest_rows(file.column("video_id"), _numpy(file.column("captured_at")))
    label = file.column("horizon_view_count").take(latest)
    usable = ~np.isnan(_numpy(label))
    dropped = {
        **facts.dropped,
        "other_horizon": facts.rows_read - sum(facts.dropped.values()) - file.rows,
        "superseded_capture": file.rows - latest.size,
        "missing_label": label.null_count,
        "unparsable_label": int((~usable).sum()) - label.null_count,
    }
    chosen = latest[usable]
    if not chosen.size:
        raise DataError(f"expected rows with a usable horizon_view_count, got none ({dropped}), in {where}")

    numeric = {name: _number(name, file.column(name), chosen) for name in _of_type(file, pa.float64())}
    categorical = {name: _category(file.column(name), chosen) for name in _of_type(file, CATEGORY)}
    spec = select_features(
        facts.header, _usable(numeric), _usable(categorical), where, extra_features, exclude_features
    )
    judged = numeric | categorical
    features = {name: judged[name] for name in (*spec.numeric_cols, *spec.categorical_cols)}
    unreadable = {name: feature.unreadable for name, feature in features.items()}
    unreadable["captured_at"] = pc.sum(file.column(UNREADABLE_TIME).take(chosen)).as_py()
    return HorizonRows(
        chosen=chosen,
        spec=spec,
        rows_read=facts.rows_read,
        dropped={reason: count for reason, count in dropped.items() if count},
        unreadable={name: count for name, count in sorted(unreadable.items()) if count},
        missing_rate={name: feature.missing / chosen.size for name, feature in features.items()},
    )


def filtered_schema(spec: FeatureSpec) -> pa.Schema:
    """Columns of a horizon's filtered rows, in their order.

    They are video_id, captured_at (UTC text), target_raw, target_log, the numeric features, the categorical ones; a
    missing cell is null.
    """
    return pa.schema(
        {
            "video_id": pa.string(),
            "captured_at": pa.string(),
            "target_raw": pa.float64(),
            "target_log": pa.float64(),
            **dict.fromkeys(spec.numeric_cols, pa.float64()),
            **dict.fromkeys(spec.categorical_cols, pa.string()),
        }
    )


def filtered_rows(file: HorizonFile, rows: HorizonRows) -> Iterator[pa.Table]:
    """The chosen rows in their order, a part of at most ``PART_ROWS`` at a time; a negative count is 0.

    Every part reads the columns again: time for memory, which is that of one part, whatever the file's size.
    """
    schema = filtered_schema(rows.spec)
    for start in range(0, rows.chosen.size, PART_ROWS):
        part = rows.chosen[start : start + PART_ROWS]
        target_raw = np.maximum(_numpy(file.column("horizon_view_count").take(part)), 0.0)
        columns = {
            "video_id": file.column("video_id").take(part),
            "captured_at": time_text(_numpy(file.column("captured_at").take(part))),
            "target_raw": target_raw,
            "target_log": np.log1p(target_raw),
        }
        for name in rows.spec.numeric_cols:
            columns[name] = pa.array(_numpy(file.column(name).take(part)), from_pandas=True)
        for name in rows.spec.categorical_cols:
            texts = pc.cast(file.column(name).take(part), pa.string())
            columns[name] = pc.if_else(pc.equal(texts, UNDECODABLE), None, texts)
        yield pa.table(columns, schema=schema)


def _of_type(file: HorizonFile, kind: pa.DataType) -> list[str]:
    return [field.name for field in file.schema if field.type == kind and field.name not in REQUIRED]


def _number(name: str, column: pa.Array, chosen: NDArray[np.int64]) -> _Feature:
    cells = column.take(chosen)
    values = _numpy(cells)
    present = values[~np.isnan(values)]
    if name in KNOWN:
        usable = present.size > 0
    else:
        usable = not pc.any(pc.is_nan(column)).as_py() and bool((present[1:] != present[:-1]).any())
    missing = values.size - present.size
    return _Feature(usable, unreadable=missing - cells.null_count, missing=missing)


def _category(column: pa.Array, chosen: NDArray[np.int64]) -> _Feature:
    cells = column.take(chosen)
    position = pc.index(column.dictionary, UNDECODABLE).as_py()
    unreadable = pc.sum(pc.equal(cells.indices, position)).as_py() or 0
    missing = cells.null_count + unreadable
    return _Feature(missing < chosen.size, unreadable, missing)


def _usable(candidates: dict[str, _Feature]) -> list[str]:
    return [name for name, feature in candidates.items() if feature.usable]


def _numpy(cells: pa.Array) -> NDArray[Any]:
    """(N,) numbers, NaN where null, or times, NaT where null."""
    values: NDArray[Any] = cells.to_numpy(zero_copy_only=False)
    return values
