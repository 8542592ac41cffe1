"""The fused manifest: one row per video of a strategy, the latest one."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clipfarm_tasks.data.captures import latest_rows, parse_times, time_text
from clipfarm_tasks.data.cells import UNDECODABLE, parse_numbers, parse_text
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Strategy

COLUMNS = (
    "video_id",
    "captured_at",
    "source_hash",
    "fusion_strategy",
    "fused_key",
    "shard_idx",
    "fused_dim",
    "video_emb_key",
    "audio_emb_key",
    "text_emb_key",
    "text_present",
)
_TEXT_TYPES = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
_NUMBERS = ("shard_idx", "fused_dim", "text_present")


@dataclass(frozen=True)
class ResolvedManifest:
    """The rows a run works on.

    Attributes:
        frame: sorted by video_id: video_id, captured_at (UTC text or None), source_hash, fused_key, shard_idx (int64,
            not checked against the shard), fused_dim (int64), video_emb_key, audio_emb_key, text_emb_key (object, None
            where absent), text_present (int64, 0 or 1).
        dropped: rows left out, by reason; a row counts under the first reason that applies to it.
    """

    frame: pd.DataFrame
    dropped: dict[str, int]


def read_manifest(body: bytes, where: str) -> pa.Table:
    """Read the needed columns of a manifest.

    Raises:
        DataError: not Parquet, or a needed column is missing; names the object and the columns.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(body))
        _check_columns(file.schema_arrow.names, where)
        return file.read(columns=list(COLUMNS))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"expected a Parquet file, got {len(body)} bytes: {str(error).strip()}, in {where}") from error


def resolve_manifest(table: pa.Table, strategy: Strategy, where: str) -> ResolvedManifest:
    """Keep the latest row of each video; among equal or unreadable capture times the last in file order.

    The latest row decides: if it has no fused_key, or no usable shard_idx or fused_dim, the video is dropped. A row
    without a text_emb_key has no text, whatever ``text_present`` says; an unreadable ``text_present`` follows the key.

    Args:
        table: the columns of `COLUMNS`, texts and numbers in any Arrow type.
        strategy: which rows to keep.
        where: the object, for messages.

    Raises:
        DataError: a column is missing, no row of the strategy, or none of them usable.
    """
    _check_columns(table.column_names, where)
    strategies = parse_text(table["fusion_strategy"])
    rows = table.filter(pc.equal(strategies, str(strategy)))
    if not rows.num_rows:
        found = sorted(str(name) for name in strategies.unique().to_pylist())
        raise DataError(f"expected rows with fusion_strategy = {strategy}, got strategies {found}, in {where}")
    texts = {name: _texts(rows[name]) for name in COLUMNS if name not in _NUMBERS}
    numbers = {name: _numbers(rows[name]) for name in _NUMBERS}
    times = parse_times(pa.array(texts["captured_at"], pa.string()))
    named = pd.notna(texts["video_id"])
    dropped = {"other_strategy": table.num_rows - rows.num_rows, "missing_video_id": int((~named).sum())}

    row_of = np.flatnonzero(named)
    latest = row_of[latest_rows(texts["video_id"][row_of], times[row_of])]
    dropped["superseded_capture"] = len(row_of) - len(latest)
    for reason, usable in (
        ("missing_fused_key", pd.notna(texts["fused_key"])),
        ("unusable_shard_idx", _is_whole(numbers["shard_idx"])),
        ("unusable_fused_dim", _is_whole(numbers["fused_dim"]) & (numbers["fused_dim"] >= 1)),
    ):
        kept = latest[usable[latest]]
        dropped[reason] = len(latest) - len(kept)
        latest = kept
    counts = {reason: count for reason, count in dropped.items() if count}
    if not len(latest):
        raise DataError(f"expected usable rows of {strategy}, got none (dropped: {counts}), in {where}")

    declared = numbers["text_present"]
    texts["captured_at"] = time_text(times)
    columns = {name: pd.Series(values[latest], dtype=object) for name, values in texts.items()}
    columns |= {name: pd.Series(numbers[name][latest].astype(np.int64)) for name in ("shard_idx", "fused_dim")}
    present = pd.notna(texts["text_emb_key"]) & (np.isnan(declared) | (declared > 0))
    columns["text_present"] = pd.Series(present[latest].astype(np.int64))
    return ResolvedManifest(
        pd.DataFrame({name: columns[name] for name in COLUMNS if name != "fusion_strategy"}), counts
    )


def _check_columns(names: list[str], where: str) -> None:
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise DataError(f"expected the columns {', '.join(COLUMNS)}, got none named {', '.join(missing)}, in {where}")


def _plain(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cells of any type as text: null where empty."""
    if pa.types.is_dictionary(cells.type):
        cells = pc.cast(cells, cells.type.value_type)
    return parse_text(cells if cells.type in _TEXT_TYPES else pc.cast(cells, pa.string()))


def _texts(cells: pa.ChunkedArray) -> NDArray[np.object_]:
    """(N,) text, None where empty or not UTF-8."""
    texts = np.array(_plain(cells).to_pylist(), dtype=object)
    texts[texts == UNDECODABLE] = None
    return texts


def _numbers(cells: pa.ChunkedArray) -> NDArray[np.float64]:
    """(N,) numbers, NaN where empty or unreadable."""
    return np.asarray(parse_numbers(_plain(cells), words=True).to_numpy(zero_copy_only=False), np.float64)


def _is_whole(numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    whole: NDArray[np.bool_] = np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < 2**53)
    return whole
