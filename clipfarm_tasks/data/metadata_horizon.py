"""One labelled row per video of a horizon: the latest capture, its target, its features."""

import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.data.captures import latest_rows, nearest_rows, time_text
from clipfarm_tasks.data.cells import UNDECODABLE
from clipfarm_tasks.data.column_cells import ColumnCells, category_cells, column_of, numeric_cells, require_readable
from clipfarm_tasks.data.column_spool import ColumnSpool
from clipfarm_tasks.data.columns import KNOWN, PUBLISHED, Kind
from clipfarm_tasks.data.computed_features import LEARNT
from clipfarm_tasks.data.computed_features import NAMES as COMPUTED_NAMES
from clipfarm_tasks.data.feature_cells import FeatureCells
from clipfarm_tasks.data.features import FeatureSpec, select_features
from clipfarm_tasks.data.metadata_files import HorizonFile
from clipfarm_tasks.data.metadata_report import MetadataReport
from clipfarm_tasks.data.metadata_scan import CREATOR, UNREADABLE_TIME
from clipfarm_tasks.data.moved_counters import moved_counters
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Horizon

PART_ROWS = 2**19
_TARGETS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "target_raw": np.positive,
    "target_log": np.log1p,
}
_LABEL = "horizon_view_count"
_KNOWN_FEATURES = {name for name, kind in KNOWN.items() if kind in (Kind.NUMERIC, Kind.BOOLEAN, Kind.CATEGORICAL)} - {
    *PUBLISHED,
    *COMPUTED_NAMES,
}


@dataclass(frozen=True)
class HorizonRows:
    """Which rows of a horizon's file are kept, one per video, and what becomes of their columns.

    Attributes:
        chosen: (M,) int64 positions in the file of the rows that have a usable label, in the order of their video_id.
        features: the candidate features of the same videos.
        report: the feature lists and counts.
    """

    chosen: NDArray[np.int64]
    features: FeatureCells
    report: MetadataReport


def select_horizon(
    file: HorizonFile,
    horizon: Horizon,
    where: str,
    feature_set: FeatureSet,
    extra_features: Collection[str] = (),
    exclude_features: Collection[str] = (),
) -> HorizonRows:
    """Keep the latest capture of each video at a horizon (rule 1), its target (rule 2) and its features (rule 3).

    The latest capture decides, label or not: a video whose latest row has no usable label is dropped. Its features are
    those of the same row, under ``v3`` those of the capture nearest to its publication. Which columns are features is
    judged by their cells in the kept rows (`ColumnCells.flaw`). A few columns are in memory at a time.

    Args:
        file: the rows of the horizon.
        horizon: days after publication.
        where: the CSV, for messages.
        feature_set: which features there are, and of which capture.
        extra_features: see `select_features`.
        exclude_features: see `select_features`.

    Raises:
        DataError: no row of the horizon, or none with a usable label; or a known feature that can hardly be read.
        ConfigError: a feature that was asked for by name cannot be used.
    """
    facts = file.facts
    if not file.rows:
        found = [int(day) if day.is_integer() else day for day in facts.horizons]
        raise DataError(f"expected rows with horizon_days = {int(horizon)}, got horizons {found}, in {where}")
    video_ids, captured_at = file.column("video_id"), _numpy(file.column("captured_at"))
    latest = latest_rows(video_ids, captured_at)
    label = file.column(_LABEL).take(latest)
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
        raise DataError(f"expected rows with a usable {_LABEL}, got none ({dropped}), in {where}")

    published_at = _numpy(file.column("published_at"))
    nearest = nearest_rows(video_ids, captured_at, published_at)[usable]
    seen = nearest if feature_set is FeatureSet.V3 else chosen
    # Not of another time than the label's, as far as anybody knows: a row may also have been written twice.
    with_label = (
        (captured_at[seen] == captured_at[chosen]) | np.isnat(captured_at[seen]) | np.isnat(captured_at[chosen])
    )
    candidates = FeatureCells(file, seen, with_label | (seen == chosen), feature_set, exclude_features)
    numeric = {name: numeric_cells(name, candidates[name]) for name in candidates.numeric}
    categorical = {name: category_cells(name, candidates[name]) for name in candidates.categorical}
    learnt_cols = tuple(chain(*LEARNT.values())) if feature_set is FeatureSet.V3 else ()
    spec = select_features(
        facts.header, _usable(numeric), _usable(categorical), where, extra_features, exclude_features, learnt_cols
    )
    judged = numeric | categorical
    features = {name: judged[name] for name in (*spec.numeric_cols, *spec.categorical_cols)}
    require_readable(
        {name: cells for name, cells in features.items() if name not in COMPUTED_NAMES}, facts.examples, where
    )
    unreadable = {name: cells.unreadable for name, cells in features.items()}
    unreadable["captured_at"] = pc.sum(file.column(UNREADABLE_TIME).take(chosen)).as_py()
    lag = (captured_at[seen] - published_at[seen]) / np.timedelta64(1, "h")
    unused = {name: judged[name] for name in sorted(judged) if name not in features}
    named = {column_of(name) for name in (*features, *unused, "captured_at")}
    report = MetadataReport(
        features=spec,
        rows_read=facts.rows_read,
        dropped={reason: count for reason, count in dropped.items() if count},
        unreadable={name: count for name, count in sorted(unreadable.items()) if count},
        missing_rate={name: 1 - cells.readable / chosen.size for name, cells in features.items()},
        unused=unused,
        feature_lag_hours=None if np.isnan(lag).all() else float(np.nanmedian(lag)),
        captures_compared=int((nearest != chosen).sum()),
        counters_moved=moved_counters(file, spec.numeric_cols, seen, nearest, nearest != chosen),
        absent=tuple(sorted(_KNOWN_FEATURES - set(facts.header))),
        examples={name: cell for name, cell in sorted(facts.examples.items()) if name in named},
    )
    return HorizonRows(chosen, candidates, report)


def filtered_schema(spec: FeatureSpec) -> pa.Schema:
    """Columns of a horizon's filtered rows, in their order.

    They are video_id, channel_id, captured_at and published_at (UTC text), target_raw, target_log, the numeric
    features, the categorical ones; a missing cell is null.
    """
    return pa.schema(
        {
            "video_id": pa.string(),
            CREATOR: pa.string(),
            "captured_at": pa.string(),
            "published_at": pa.string(),
            "target_raw": pa.float64(),
            "target_log": pa.float64(),
            **dict.fromkeys(spec.numeric_cols, pa.float64()),
            **dict.fromkeys(spec.categorical_cols, pa.string()),
        }
    )


def filtered_rows(file: HorizonFile, rows: HorizonRows) -> Iterator[pa.Table]:
    """The chosen rows in their order, at most ``PART_ROWS`` at a time; a negative count is 0.

    Every column is cut into parts on disk: memory is that of one column and what it is computed from, or of one part.

    Raises:
        OSError: the temporary folder has no room.
    """
    features = {*rows.report.features.numeric_cols, *rows.report.features.categorical_cols}
    with tempfile.TemporaryFile(prefix="clipfarm-") as temporary:
        spool = ColumnSpool(temporary)
        for field in filtered_schema(rows.report.features):
            if field.name in features:
                column = rows.features[field.name]
            else:
                column = file.column(_LABEL if field.name in _TARGETS else field.name).take(rows.chosen)
            parts = (column[start : start + PART_ROWS] for start in range(0, len(column), PART_ROWS))
            spool.add(field, (_finished(field, part) for part in parts))
        yield from spool.parts()


def _finished(field: pa.Field, cells: pa.Array) -> pa.Array:
    """Cells as the filtered rows hold them."""
    if field.name in ("captured_at", "published_at"):
        return time_text(_numpy(cells))
    if field.name in _TARGETS:
        return pa.array(_TARGETS[field.name](np.maximum(_numpy(cells), 0.0)))
    if field.type == pa.float64():
        return pa.array(_numpy(cells), from_pandas=True)
    texts = pc.cast(cells, pa.string())
    return pc.if_else(pc.equal(texts, UNDECODABLE), None, texts)


def _usable(candidates: dict[str, ColumnCells]) -> list[str]:
    return [name for name, cells in candidates.items() if cells.flaw is None]


def _numpy(cells: pa.Array) -> NDArray[Any]:
    """(N,) numbers, NaN where null, or times, NaT where null."""
    values: NDArray[Any] = cells.to_numpy(zero_copy_only=False)
    return values
