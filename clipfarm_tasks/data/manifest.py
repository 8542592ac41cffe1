"""The fused manifest: one row per video of a strategy, the latest one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
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
RESOLVED = pa.schema(
    {name: pa.int64() if name in _NUMBERS else pa.string() for name in COLUMNS if name != "fusion_strategy"}
)


@dataclass(frozen=True)
class ResolvedManifest:
    """The rows a run works on.

    Attributes:
        table: sorted by video_id: video_id, captured_at (UTC text), source_hash, fused_key, shard_idx (int64, not
            checked against the shard), fused_dim (int64), video_emb_key, audio_emb_key, text_emb_key, text_present
            (int64, 0 or 1); texts are strings, null where absent.
        dropped: rows left out, by reason; a row counts under the first reason that applies to it.
    """

    table: pa.Table
    dropped: dict[str, int]


class ManifestFile:
    """The needed columns of a fused manifest; one of them is in memory at a time."""

    def __init__(self, body: bytes, where: str) -> None:
        """Open a manifest.

        Args:
            body: its content, Parquet; texts and numbers in any type.
            where: the object, for messages.

        Raises:
            DataError: not Parquet, or a needed column is missing; names the object and the columns.
        """
        self.where = where
        self._bytes = len(body)
        with self._parquet_only():
            self._parquet = pq.ParquetFile(pa.BufferReader(body))
        present = self._parquet.schema_arrow.names
        missing = [name for name in COLUMNS if name not in present]
        if missing:
            raise DataError(
                f"expected the columns {', '.join(COLUMNS)}, got none named {', '.join(missing)}, in {where}"
            )

    @property
    def rows(self) -> int:
        """Rows of the file, of all strategies."""
        return int(self._parquet.metadata.num_rows)

    def column(self, name: str) -> pa.Array:
        """(N,) cells of a column, in file order.

        Raises:
            DataError: its bytes are damaged.
        """
        with self._parquet_only():
            return self._parquet.read(columns=[name], use_threads=False)[name].combine_chunks()

    @contextmanager
    def _parquet_only(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            problem = " ".join(str(error).split())
            raise DataError(f"expected a Parquet file, got {self._bytes} bytes: {problem}, in {self.where}") from error


def resolve_manifest(file: ManifestFile, strategy: Strategy) -> ResolvedManifest:
    """Keep the latest row of each video; among equal or unreadable capture times the last in file order.

    The latest row decides: if it has no fused_key, or no usable shard_idx or fused_dim, the video is dropped. A row
    without a text_emb_key has no text, whatever ``text_present`` says; an unreadable ``text_present`` follows the key.

    Args:
        file: the manifest.
        strategy: which rows to keep.

    Raises:
        DataError: a column is damaged, no row of the strategy, or none of them usable.
    """
    strategies = parse_text(file.column("fusion_strategy"))
    rows = pc.indices_nonzero(pc.equal(strategies, str(strategy)))
    if not len(rows):
        found = sorted(str(name) for name in strategies.unique().to_pylist())
        raise DataError(f"expected rows with fusion_strategy = {strategy}, got strategies {found}, in {file.where}")
    video_ids = _texts(file, "video_id", rows)
    named = rows.filter(pc.is_valid(video_ids))
    times = parse_times(_texts(file, "captured_at", named))
    latest = latest_rows(video_ids.drop_null(), times)
    dropped = {
        "other_strategy": file.rows - len(rows),
        "missing_video_id": len(rows) - len(named),
        "superseded_capture": len(named) - len(latest),
    }

    rows, times = named.take(latest), times[latest]
    numbers = {name: _numbers(file, name, rows) for name in _NUMBERS}
    kept = np.ones(len(rows), np.bool_)
    for reason, usable in (
        ("missing_fused_key", _is_present(_texts(file, "fused_key", rows))),
        ("unusable_shard_idx", _is_whole(numbers["shard_idx"])),
        ("unusable_fused_dim", _is_whole(numbers["fused_dim"]) & (numbers["fused_dim"] >= 1)),
    ):
        dropped[reason] = int((kept & ~usable).sum())
        kept &= usable
    counts = {reason: count for reason, count in dropped.items() if count}
    if not kept.any():
        raise DataError(f"expected usable rows of {strategy}, got none (dropped: {counts}), in {file.where}")

    rows = rows.filter(kept)
    columns = {name: _texts(file, name, rows) for name in RESOLVED.names if name not in ("captured_at", *_NUMBERS)}
    columns["captured_at"] = time_text(times[kept])
    columns |= {name: numbers[name][kept].astype(np.int64) for name in ("shard_idx", "fused_dim")}
    declared = numbers["text_present"][kept]
    present = _is_present(columns["text_emb_key"]) & (np.isnan(declared) | (declared > 0))
    columns["text_present"] = present.astype(np.int64)
    return ResolvedManifest(pa.table(columns, schema=RESOLVED), counts)


def _texts(file: ManifestFile, name: str, rows: pa.Array) -> pa.Array:
    """(M,) string, null where empty or not UTF-8: these rows of a column."""
    texts = _plain(file, name, rows)
    return pc.if_else(pc.equal(texts, UNDECODABLE), None, texts)


def _numbers(file: ManifestFile, name: str, rows: pa.Array) -> NDArray[np.float64]:
    """(M,) numbers, NaN where empty or unreadable: these rows of a column."""
    return np.asarray(parse_numbers(_plain(file, name, rows), words=True).to_numpy(zero_copy_only=False), np.float64)


def _plain(file: ManifestFile, name: str, rows: pa.Array) -> pa.Array:
    """(M,) cells of any type as text, null where empty: these rows of a column."""
    cells = file.column(name).take(rows)
    if pa.types.is_dictionary(cells.type):
        cells = pc.cast(cells, cells.type.value_type)
    return parse_text(cells if cells.type in _TEXT_TYPES else pc.cast(cells, pa.string()))


def _is_present(cells: pa.Array) -> NDArray[np.bool_]:
    present: NDArray[np.bool_] = cells.is_valid().to_numpy(zero_copy_only=False)
    return present


def _is_whole(numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    whole: NDArray[np.bool_] = np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < 2**53)
    return whole
