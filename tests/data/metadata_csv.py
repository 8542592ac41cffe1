"""Small metadata CSVs, and what becomes of them on the whole way from bytes to filtered rows."""

import csv
import io
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.data.metadata_files import HorizonFile, write_horizons
from clipfarm_tasks.data.metadata_horizon import filtered_rows, filtered_schema, select_horizon
from clipfarm_tasks.data.metadata_report import MetadataReport
from clipfarm_tasks.families import Horizon

V2 = FeatureSet.V2_LOG_COUNTS

WHERE = "s3://bucket/metadata.csv"
HEADER = ["video_id", "captured_at", "horizon_days", "horizon_view_count", "title", "duration_seconds", "query"]


@dataclass(frozen=True)
class Selected:
    """The rows of a horizon and the frame of their columns: text as objects, None where missing; numbers as float64."""

    chosen: NDArray[np.int64]
    report: MetadataReport
    frame: pd.DataFrame

    @property
    def spec(self):
        return self.report.features

    @property
    def dropped(self):
        return self.report.dropped

    @property
    def unreadable(self):
        return self.report.unreadable


def to_csv(rows, header=HEADER, **options):
    text = io.StringIO(newline="")
    writer = csv.writer(text, **options)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def row(video_id="a", captured_at="2026-03-01T00:00:00Z", days=7, views="10", title="t", duration="12", query="q"):
    return [video_id, captured_at, days, views, title, duration, query]


def scan(source, horizons=tuple(Horizon), feature_set=V2) -> dict[Horizon, HorizonFile]:
    """The horizons' files of a CSV, given as bytes or as a binary file."""
    files = {horizon: io.BytesIO() for horizon in horizons}
    write_horizons(io.BytesIO(source) if isinstance(source, bytes) else source, WHERE, files, feature_set)
    return {horizon: HorizonFile(file) for horizon, file in files.items()}


def select(source, horizon=Horizon.D7, feature_set=V2) -> Selected:
    file = scan(source, feature_set=feature_set)[horizon]
    rows = select_horizon(file, horizon, WHERE, feature_set)
    parts = list(filtered_rows(file, rows))
    assert {part.schema for part in parts} == {filtered_schema(rows.report.features)}
    table = pa.concat_tables(parts)
    frame = pd.DataFrame({name: as_series(table[name]) for name in table.column_names})
    return Selected(rows.chosen, rows.report, frame)


def as_series(column):
    text = pa.types.is_string(column.type)
    return pd.Series(column.to_pylist(), dtype=object) if text else pd.Series(column.to_numpy())


def with_column(name, values):
    rows = [[*row(video_id=f"v{i:02d}", duration=str(i)), value] for i, value in enumerate(values)]
    return select(to_csv(rows, [*HEADER, name]))


def every_row_accounted_for(rows: Selected, total: int) -> bool:
    return rows.report.rows_read == total == len(rows.frame) + sum(rows.dropped.values())
