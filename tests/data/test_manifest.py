"""One manifest row per video of a strategy."""

import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipfarm_tasks.data.manifest import COLUMNS, read_manifest, resolve_manifest
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Strategy

WHERE = "s3://bucket/fused_manifest.parquet"


def entry(video_id="a", captured_at="2026-03-01T00:00:00+00:00", **changes):
    return {
        "video_id": video_id,
        "captured_at": captured_at,
        "source_hash": "h",
        "fusion_strategy": "concat",
        "fused_dim": 5,
        "fused_key": f"shards/{video_id}.npz",
        "shard_idx": 0,
        "shard_n": 1,
        "video_emb_key": "v.npy",
        "audio_emb_key": "a.npy",
        "text_emb_key": "t.npy",
        "text_present": 1,
    } | changes


def parquet(rows):
    body = io.BytesIO()
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), body)
    return body.getvalue()


def resolve(rows, strategy=Strategy.CONCAT):
    return resolve_manifest(read_manifest(parquet(rows), WHERE), strategy, WHERE)


def test_rows_of_the_strategy_sorted_by_video():
    found = resolve([entry("b"), entry("a"), entry("c", fusion_strategy="sum_pool")])
    assert found.frame.columns.tolist() == [name for name in COLUMNS if name != "fusion_strategy"]
    assert found.frame["video_id"].tolist() == ["a", "b"]
    assert found.frame["fused_key"].tolist() == ["shards/a.npz", "shards/b.npz"]
    assert found.frame[["shard_idx", "fused_dim", "text_present"]].dtypes.tolist() == ["int64"] * 3
    assert found.dropped == {"other_strategy": 1}


def test_latest_capture_wins_and_ties_go_to_the_last_row():
    found = resolve(
        [
            entry("a", "2026-03-02T00:00:00+09:00", shard_idx=1),  # 15:00 UTC the day before
            entry("a", "2026-03-01T16:00:00Z", shard_idx=2),
            entry("b", "2026-03-01", shard_idx=3),
            entry("b", "2026-03-01T00:00:00Z", shard_idx=4),
            entry("b", "unknown", shard_idx=5),
            entry("c", None, shard_idx=6),
            entry("c", "unknown", shard_idx=7),
        ]
    )
    assert found.frame["shard_idx"].tolist() == [2, 4, 7]
    assert found.frame["captured_at"].tolist() == ["2026-03-01T16:00:00.000000Z", "2026-03-01T00:00:00.000000Z", None]
    assert found.dropped == {"superseded_capture": 4}


def test_unusable_rows_are_dropped_by_reason_and_a_wild_index_is_left_to_the_shard():
    rows = [
        entry("a"),
        entry(None),
        entry("", shard_idx=2),
        entry("b", fused_key=None),
        entry("c", shard_idx=None),
        entry("d", shard_idx=1.5),
        entry("e", fused_dim=0),
        entry("f", shard_idx=-4),
        entry("g", shard_idx=10**6),
    ]
    frame = pd.DataFrame(rows).astype({"shard_idx": float})
    found = resolve(pa.Table.from_pandas(frame))
    assert found.frame["video_id"].tolist() == ["a", "f", "g"]
    assert found.frame["shard_idx"].tolist() == [0, -4, 10**6]
    assert found.dropped == {
        "missing_video_id": 2,
        "missing_fused_key": 1,
        "unusable_shard_idx": 2,
        "unusable_fused_dim": 1,
    }
    assert len(found.frame) + sum(found.dropped.values()) == len(rows)


def test_a_latest_row_that_is_unusable_is_not_replaced_by_an_older_one():
    found = resolve([entry("a"), entry("a", "2026-03-02", fused_key=""), entry("b")])
    assert found.frame["video_id"].tolist() == ["b"]


@pytest.mark.parametrize(
    ("key", "declared", "present"), [("t", 1, 1), ("t", 0, 0), ("t", None, 1), (None, 1, 0), ("", None, 0)]
)
def test_text_present_needs_a_key(key, declared, present):
    rows = [entry("a", text_emb_key=key, text_present=declared), entry("b")]
    assert resolve(rows).frame["text_present"].tolist() == [present, 1]


def test_any_arrow_types_will_do():
    table = pa.Table.from_pylist([entry("b"), entry("a", text_present=0)])
    for name, kind in {
        "video_id": pa.large_string(),
        "fusion_strategy": pa.dictionary(pa.int32(), pa.string()),
        "shard_idx": pa.string(),
        "fused_dim": pa.float64(),
        "text_present": pa.bool_(),
    }.items():
        position = table.column_names.index(name)
        table = table.set_column(position, name, table[name].cast(kind))
    times = pa.array([0, 1], pa.timestamp("us", "UTC"))
    found = resolve(table.set_column(table.column_names.index("captured_at"), "captured_at", times)).frame
    assert found["video_id"].tolist() == ["a", "b"]
    assert found["text_present"].tolist() == [0, 1]
    assert found["captured_at"].tolist() == ["1970-01-01T00:00:00.000001Z", "1970-01-01T00:00:00.000000Z"]


def test_no_rows_of_the_strategy():
    message = r"expected rows with fusion_strategy = max_pool, got strategies \['concat'\], in s3://bucket"
    with pytest.raises(DataError, match=message):
        resolve([entry()], Strategy.MAX_POOL)


def test_no_usable_row():
    with pytest.raises(DataError, match=r"expected usable rows of concat, got none .*missing_fused_key.*, in s3://"):
        resolve([entry(fused_key=None)])


def test_missing_columns_are_named():
    rows = [{name: value for name, value in entry().items() if name not in ("fused_key", "shard_idx")}]
    with pytest.raises(DataError, match="got none named fused_key, shard_idx, in s3://bucket"):
        resolve(rows)


@pytest.mark.parametrize("body", [b"", b"not parquet at all", parquet([entry()])[:-20], b"PAR1" + b"\0" * 40 + b"PAR1"])
def test_what_is_not_parquet_is_refused(body):
    with pytest.raises(DataError, match=r"expected a Parquet file, got .* bytes.*, in s3://bucket"):
        read_manifest(body, WHERE)
