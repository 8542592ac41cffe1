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
OPTIONAL = ("shard_n",)
_NUMBERS = ("shard_idx", "fused_dim", "text_present", "shard_n")
# What other writers put where there is no key: Python's None and pandas' NaN, NaT and <NA>, turned into text.
_NOTHING = pa.array(["None", "none", "null", "NULL", "nan", "NaN", "NaT", "<NA>"])
_LARGEST_WHOLE = 2**53  # of the whole numbers that a float64 tells apart
RESOLVED = pa.schema(
    {
        name: pa.int64() if name in _NUMBERS else pa.string()
        for name in (*COLUMNS, *OPTIONAL)
        if name != "fusion_strategy"
    }
)


@dataclass(frozen=True)
class ResolvedManifest:
    """The rows a run works on.

    Attributes:
        table: sorted by video_id: video_id, captured_at (UTC text), source_hash, fused_key, shard_idx (int64, not
            checked against the shard), fused_dim (int64), video_emb_key, audio_emb_key, text_emb_key, text_present
            (int64, 0 or 1), shard_n (int64, null where it is not told); texts are strings, null where absent.
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
            DataError: not Parquet, or a needed column is missing, named twice or no text; names the object and the
                columns.
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
        needed = [field for field in self._parquet.schema_arrow if field.name in (*COLUMNS, *OPTIONAL)]
        repeated = sorted({field.name for field in needed if present.count(field.name) > 1})
        if repeated:
            raise DataError(f"expected each column once, got several named {', '.join(repeated)}, in {where}")
        nested = [f"{field.name} of type {field.type}" for field in needed if not _is_plain(field.type)]
        if nested:
            raise DataError(f"expected columns of texts or numbers, got {', '.join(nested)}, in {where}")

    @property
    def rows(self) -> int:
        """Rows of the file, of all strategies."""
        return int(self._parquet.metadata.num_rows)

    def column(self, name: str) -> pa.Array:
        """(N,) cells of a column as bytes, in file order; nulls for an optional one that is not there.

        Raises:
            DataError: its bytes are damaged.
        """
        if name not in self._parquet.schema_arrow.names:
            return pa.nulls(self.rows, pa.binary())
        with self._parquet_only():
            cells = self._parquet.read(columns=[name], use_threads=False)[name]
            return pa.chunked_array([_as_bytes(chunk) for chunk in cells.chunks], pa.binary()).combine_chunks()

    @contextmanager
    def _parquet_only(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
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
    told = np.where(_is_whole(numbers["shard_n"]), numbers["shard_n"], np.nan)[kept]
    columns["shard_n"] = pa.array(told, from_pandas=True).cast(pa.int64())
    declared = numbers["text_present"][kept]
    present = _is_present(columns["text_emb_key"]) & (np.isnan(declared) | (declared > 0))
    columns["text_present"] = present.astype(np.int64)
    return ResolvedManifest(pa.table(columns, schema=RESOLVED), counts)


def _texts(file: ManifestFile, name: str, rows: pa.Array) -> pa.Array:
    """(M,) string, null where empty, nothing or not UTF-8: these rows of a column."""
    texts = parse_text(file.column(name).take(rows))
    nothing = pc.or_(pc.equal(texts, UNDECODABLE), pc.is_in(texts, _NOTHING))
    return pc.if_else(nothing, None, texts)


def _numbers(file: ManifestFile, name: str, rows: pa.Array) -> NDArray[np.float64]:
    """(M,) numbers, NaN where empty or unreadable: these rows of a column."""
    numbers = parse_numbers(parse_text(file.column(name).take(rows)), words=True)
    return np.asarray(numbers.to_numpy(zero_copy_only=False), np.float64)


def _is_plain(kind: pa.DataType) -> bool:
    """Whether each cell of this type is one text or number."""
    try:
        pa.nulls(0, kind.value_type if pa.types.is_dictionary(kind) else kind).cast(pa.string())
    except pa.ArrowNotImplementedError:
        return False
    return True


def _as_bytes(cells: pa.Array) -> pa.Array:
    """(N,) binary: plain cells as text; among floats, which a missing cell makes of them, whole numbers as such."""
    if pa.types.is_dictionary(cells.type):
        return _as_bytes(cells.dictionary).take(cells.indices)
    if pa.types.is_floating(cells.type):
        numbers = cells.to_numpy(zero_copy_only=False).astype(np.float64)
        if (_is_whole(numbers) | np.isnan(numbers)).all():
            cells = pa.array(numbers, pa.int64(), from_pandas=True)
    # Only text, views of it and bytes become bytes at once.
    try:
        return cells.cast(pa.binary())
    except pa.ArrowNotImplementedError:
        return cells.cast(pa.string()).cast(pa.binary())


def _is_present(cells: pa.Array) -> NDArray[np.bool_]:
    present: NDArray[np.bool_] = cells.is_valid().to_numpy(zero_copy_only=False)
    return present


def _is_whole(numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    whole: NDArray[np.bool_] = (
        np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < _LARGEST_WHOLE)
    )
    return whole
