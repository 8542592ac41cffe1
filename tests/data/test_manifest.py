"""One manifest row per video of a strategy."""

import io
from collections import Counter
from datetime import UTC, datetime
from operator import itemgetter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipfarm_tasks.data.manifest import COLUMNS, OPTIONAL, RESOLVED, ManifestFile, resolve_manifest
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


def parquet(rows, **options):
    body = io.BytesIO()
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), body, **options)
    return body.getvalue()


def resolve(rows, strategy=Strategy.CONCAT, **options):
    return resolve_manifest(ManifestFile(parquet(rows, **options), WHERE), strategy)


def cells(found, name):
    return found.table[name].to_pylist()


def test_rows_of_the_strategy_sorted_by_video():
    found = resolve([entry("b"), entry("a"), entry("c", fusion_strategy="sum_pool")])
    assert found.table.schema == RESOLVED
    assert found.table.column_names == [name for name in (*COLUMNS, *OPTIONAL) if name != "fusion_strategy"]
    assert cells(found, "video_id") == ["a", "b"]
    assert cells(found, "fused_key") == ["shards/a.npz", "shards/b.npz"]
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
    assert cells(found, "shard_idx") == [2, 4, 7]
    assert cells(found, "captured_at") == ["2026-03-01T16:00:00.000000Z", "2026-03-01T00:00:00.000000Z", None]
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
    assert cells(found, "video_id") == ["a", "f", "g"]
    assert cells(found, "shard_idx") == [0, -4, 10**6]
    assert found.dropped == {
        "missing_video_id": 2,
        "missing_fused_key": 1,
        "unusable_shard_idx": 2,
        "unusable_fused_dim": 1,
    }
    assert found.table.num_rows + sum(found.dropped.values()) == len(rows)


def test_a_latest_row_that_is_unusable_is_not_replaced_by_an_older_one():
    found = resolve([entry("a"), entry("a", "2026-03-02", fused_key=""), entry("b")])
    assert cells(found, "video_id") == ["b"]


@pytest.mark.parametrize(
    ("key", "declared", "present"), [("t", 1, 1), ("t", 0, 0), ("t", None, 1), (None, 1, 0), ("", None, 0)]
)
def test_text_present_needs_a_key(key, declared, present):
    rows = [entry("a", text_emb_key=key, text_present=declared), entry("b")]
    assert cells(resolve(rows), "text_present") == [present, 1]


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
    found = resolve(table.set_column(table.column_names.index("captured_at"), "captured_at", times))
    assert cells(found, "video_id") == ["a", "b"]
    assert cells(found, "text_present") == [0, 1]
    assert cells(found, "captured_at") == ["1970-01-01T00:00:00.000001Z", "1970-01-01T00:00:00.000000Z"]


TEXTS_OF_OTHERS = [
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.binary_view(),
    pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.uint32(), pa.large_string()),
]


@pytest.mark.parametrize("kind", TEXTS_OF_OTHERS, ids=str)
def test_text_of_every_kind_is_read_alike(kind):
    table = pa.Table.from_pylist([entry("b"), entry("a"), entry("a", "2026-03-02", text_emb_key=None)])
    texts = {name for name in table.column_names if table.schema.field(name).type == pa.string()}
    changed = {name: table[name].cast(kind) if name in texts else table[name] for name in table.column_names}
    assert resolve(pa.table(changed)).table == resolve(table).table


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([12, None, 7], pa.int64()),
        pa.array([12, None, 7], pa.uint8()),
        pa.array([12.0, None, 7.0]),
        pa.array([12.0, float("nan"), 7.0], pa.float32()),
        pa.array([12, None, 7]).dictionary_encode(),
        pa.array([12, None, 7]).cast(pa.decimal128(20, 0)),
    ],
    ids=lambda ids: str(ids.type),
)
def test_ids_that_are_numbers_are_read_in_decimal(ids):
    table = pa.Table.from_pylist([entry(), entry(), entry()])
    found = resolve(table.set_column(0, "video_id", ids))
    assert cells(found, "video_id") == ["12", "7"]
    assert found.dropped == {"missing_video_id": 1}


@pytest.mark.parametrize("nothing", ["None", "nan", "NaN", "<NA>", "NaT", "null", " None "])
def test_a_text_that_stands_for_nothing_is_no_key(nothing):
    rows = [entry("a", text_emb_key=nothing), entry("b", audio_emb_key=nothing), entry("c", fused_key=nothing)]
    found = resolve([*rows, entry(nothing)])
    assert cells(found, "text_present") == [0, 1]
    assert cells(found, "audio_emb_key") == ["a.npy", None]
    assert found.dropped == {"missing_video_id": 1, "missing_fused_key": 1}


@pytest.mark.parametrize("cell", [["a"], {"key": "a"}], ids=["list", "struct"])
@pytest.mark.parametrize("name", ["video_id", "shard_idx", "text_emb_key"])
def test_nested_cells_are_refused_naming_column_and_type(name, cell):
    with pytest.raises(DataError, match=rf"texts or numbers, got {name} of type (list|struct)<.*, in s3://bucket"):
        resolve([entry() | {name: cell}])


def test_nested_cells_of_a_map_or_a_dictionary_are_refused_and_of_other_columns_ignored():
    table = pa.Table.from_pylist([entry() | {"more": [{"a": 1}]}])
    assert resolve(table).table.num_rows == 1
    keys = pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))
    with pytest.raises(DataError, match="got source_hash of type map<"):
        resolve(table.set_column(table.column_names.index("source_hash"), "source_hash", keys))


def test_a_column_that_comes_twice_is_refused_by_name():
    table = pa.Table.from_pylist([entry()])
    twice = table.append_column("video_id", table["video_id"]).append_column("fused_key", table["fused_key"])
    with pytest.raises(DataError, match="each column once, got several named fused_key, video_id, in s3://bucket"):
        resolve(twice)
    assert (
        resolve(table.append_column("x", table["video_id"]).append_column("x", table["video_id"])).table.num_rows == 1
    )


def test_a_manifest_without_rows_is_refused():
    empty = pa.Table.from_pylist([entry()]).slice(0, 0)
    for table in (empty, pa.table({name: pa.nulls(0) for name in empty.column_names})):
        with pytest.raises(DataError, match=r"expected rows with fusion_strategy = concat, got strategies \[\]"):
            resolve(table)


def test_a_name_that_is_no_text_is_refused():
    body = parquet([entry() | {"others": 1}]).replace(b"others", b"othe\xff\xff")
    with pytest.raises(DataError, match=r"expected a Parquet file, got .* bytes.*, in s3://bucket"):
        ManifestFile(body, WHERE)


def test_numbers_are_read_from_floats_with_gaps_and_from_texts():
    frame = pd.DataFrame(
        [entry(name, shard_idx=index) for name, index in zip("abc", ("1", "nan", " 3.0 "), strict=True)]
    )
    assert cells(resolve(pa.Table.from_pandas(frame)), "shard_idx") == [1, 3]
    frame["shard_idx"], frame["shard_n"] = [4.0, np.nan, 5.0], [7.0, 8.0, np.nan]
    found = resolve(pa.Table.from_pandas(frame))
    assert (cells(found, "shard_idx"), cells(found, "shard_n")) == ([4, 5], [7, None])


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
        ManifestFile(body, WHERE)


def test_a_column_that_is_damaged_is_refused():
    body = bytearray(parquet([entry()]))
    chunks = pq.read_metadata(io.BytesIO(bytes(body))).row_group(0)
    position = next(i for i in range(chunks.num_columns) if chunks.column(i).path_in_schema == "source_hash")
    page = chunks.column(position).dictionary_page_offset
    body[page : page + 8] = b"\xff" * 8
    file = ManifestFile(bytes(body), WHERE)
    assert file.column("video_id").to_pylist() == [b"a"]
    with pytest.raises(DataError, match=rf"expected a Parquet file, got {len(body)} bytes.*, in s3://bucket"):
        resolve_manifest(file, Strategy.CONCAT)


# What a cell holds, and what it means. Text is UTF-8 without the blanks around it; nothing and other bytes are absent.
TEXTS = {b"k": "k", b" k ": "k", b"": None, b"  ": None, None: None, b"\xff\xfe": None, b"\xc3\xa9": "\u00e9"}
NAMES = (*(f"v{number}" for number in range(40)), "Z", "\uffff", "\U0001f600")
IDS = TEXTS | {name.encode(): name for name in NAMES}
WITH_OFFSET = {
    b"2026-03-01T00:00:00+00:00": datetime(2026, 3, 1, tzinfo=UTC),
    b"2026-03-01T09:00:00+09:00": datetime(2026, 3, 1, tzinfo=UTC),
    b"2026-03-01T00:00:00.5Z": datetime(2026, 3, 1, 0, 0, 0, 500_000, tzinfo=UTC),
    b"2026-02-28T20:30:00-0330": datetime(2026, 3, 1, tzinfo=UTC),
    None: None,
}
ANY_TIME = WITH_OFFSET | {
    b"2026-03-01": datetime(2026, 3, 1, tzinfo=UTC),
    b"2026-03-01 00:00:00.500000999": datetime(2026, 3, 1, 0, 0, 0, 500_000, tzinfo=UTC),
    b"unknown": None,
    b"now": None,
    b"": None,
    b"\xff": None,
}
NUMBERS = {b"0": 0, b" 1 ": 1, b"2.0": 2, b"1e1": 10, b"true": 1, b"-3": -3}
ANY_NUMBER = NUMBERS | {b"1.5": 1.5, b"": None, None: None, b"x": None, b"nan": None, b"\xff": None}
MEANINGS = dict.fromkeys(COLUMNS, TEXTS) | {
    **dict.fromkeys(("video_id", "fused_key"), IDS),
    "fusion_strategy": {b"concat": "concat", b"concat ": "concat", b"sum_pool": "sum_pool", b"\xff": None, None: None},
}


def draw(rng, meanings):
    """1 to 150 rows: what their cells hold, by column, and what that means, by row."""
    count = int(rng.integers(1, 151))
    held = {name: [list(cells)[i] for i in rng.integers(0, len(cells), count)] for name, cells in meanings.items()}
    return held, [{name: meanings[name][held[name][row]] for name in COLUMNS} for row in range(count)]


def fault(row):
    """Why a video's latest row cannot be used."""
    if row["fused_key"] is None:
        return "missing_fused_key"
    if row["shard_idx"] in (None, 1.5):
        return "unusable_shard_idx"
    return "unusable_fused_dim" if row["fused_dim"] in (None, 1.5, 0, -3) else None


def by_hand(rows):
    """The rules, one row after the other."""
    dropped, latest = Counter(), {}
    for row in rows:
        if row["fusion_strategy"] != "concat":
            dropped["other_strategy"] += 1
        elif row["video_id"] is None:
            dropped["missing_video_id"] += 1
        else:
            older = latest.setdefault(row["video_id"], row)
            dropped["superseded_capture"] += older is not row
            if row["captured_at"] == older["captured_at"] or older["captured_at"] is None:
                latest[row["video_id"]] = row
            elif row["captured_at"] is not None:
                latest[row["video_id"]] = max(older, row, key=itemgetter("captured_at"))
    dropped.update(fault(row) for row in latest.values())
    kept = [row for _, row in sorted(latest.items()) if fault(row) is None]
    return [resolved(row) for row in kept], {reason: n for reason, n in dropped.items() if n and reason is not None}


def resolved(row):
    time = row["captured_at"] and f"{row['captured_at']:%Y-%m-%dT%H:%M:%S.%fZ}"
    present = row["text_emb_key"] is not None and (row["text_present"] is None or row["text_present"] > 0)
    changed = row | {"captured_at": time, "text_present": int(present), "shard_n": None}
    return {name: changed[name] for name in RESOLVED.names}


@pytest.mark.parametrize("numbers", [NUMBERS, ANY_NUMBER], ids=["numbers", "any_number"])
@pytest.mark.parametrize("times", [WITH_OFFSET, ANY_TIME], ids=["with_offset", "any_time"])
def test_the_rules_row_by_row_give_the_same(times, numbers):
    rng = np.random.default_rng(7)
    meanings = MEANINGS | {"captured_at": times} | dict.fromkeys(("shard_idx", "fused_dim", "text_present"), numbers)
    usable, reasons = 0, set()
    for _ in range(40):
        held, rows = draw(rng, meanings)
        expected, dropped = by_hand(rows)
        body = pa.table({name: pa.array(column, pa.binary()) for name, column in held.items()})
        if not expected:
            with pytest.raises(DataError):
                resolve(body, row_group_size=7)
            continue
        found = resolve(body, row_group_size=7)
        assert found.table.to_pylist() == expected
        assert found.dropped == dropped
        usable += len(expected)
        reasons |= dropped.keys()
    assert usable > 100
    assert len(reasons) == (6 if numbers is ANY_NUMBER else 5)
