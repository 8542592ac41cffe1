"""The working set as a step sees it: exactly what the record describes, or a sentence that says what to do."""

import hashlib
import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.config import RunParams
from clipfarm_tasks.contracts import GateRecord
from clipfarm_tasks.errors import ChangedObjectError, DataError, MissingObjectError, TransientError
from clipfarm_tasks.families import Modality, Strategy
from clipfarm_tasks.run_config import CodeVersion, PinnedObject, RunConfig, RunInputs
from clipfarm_tasks.steps.context import StepContext, json_bytes, load_config, parquet_bytes, table_bytes
from clipfarm_tasks.storage import open_store
from tests.faulty_s3 import FaultyS3, always, first, reading, shorten

pytestmark = pytest.mark.integration

SCHEMA = {"video_dim": 5, "audio_dim": 4, "text_dim": 3, "fused_dim": 13, "mask_appended": True}


@pytest.fixture
def context(store):
    """A run whose first strategy has a schema.json and whose others have none."""
    key = keys.fused_schema(Strategy.CONCAT)
    body = json.dumps(SCHEMA).encode()
    schema = PinnedObject(key=key, etag=store.put(key, body), size=len(body))
    config = RunConfig(
        run_id="run-1",
        digest="d" * 64,
        params=RunParams(),
        inputs=RunInputs(
            metadata=PinnedObject(key=keys.METADATA_CSV, etag='"0"', size=0),
            manifests=dict.fromkeys(Strategy),
            schemas={**dict.fromkeys(Strategy), Strategy.CONCAT: schema},
        ),
        code=CodeVersion(package="0", git_sha="unknown", source_sha256="unknown"),
        resolved_at="2026-01-01T00:00:00+00:00",
        as_of="2026-01-01T00:00:00+00:00",
        source_run_id="run-1",
    )
    return StepContext(store, store.settings, config)


def test_a_frame_comes_back_as_it_was_written(context):
    frame = pd.DataFrame({"video_id": ["b", "a"], "x": [1.5, np.nan], "country": ["DE", None]})
    sha256 = context.put_bytes("frame.parquet", parquet_bytes(frame))
    assert sha256 == hashlib.sha256(context.store.get("frame.parquet")).hexdigest()
    pd.testing.assert_frame_equal(context.frame("frame.parquet", sha256), frame)


def test_a_table_comes_back_as_it_was_written(context):
    table = pa.table({"video_id": ["b", "a"], "n": [1, 2], "text_emb_key": pa.array([None, None], pa.string())})
    sha256 = context.put_table("table.parquet", table)
    assert sha256 == hashlib.sha256(context.store.get("table.parquet")).hexdigest()
    assert context.table("table.parquet", sha256).equals(table)
    assert context.table("table.parquet", sha256, ["n", "video_id"]).equals(table.select(["n", "video_id"]))
    pd.testing.assert_frame_equal(context.frame("table.parquet", sha256), table.to_pandas())


def test_a_frame_other_than_recorded_is_refused(context):
    recorded = context.put_bytes("frame.parquet", parquet_bytes(pd.DataFrame({"x": [1]})))
    actual = context.put_bytes("frame.parquet", parquet_bytes(pd.DataFrame({"x": [2]})))
    uri = context.store.uri("frame.parquet")
    with pytest.raises(DataError, match=rf"expected sha256 {recorded}, got {actual}, in {uri}: clear the task again"):
        context.frame("frame.parquet", recorded)
    with pytest.raises(DataError, match=rf"expected sha256 {recorded}, got {actual}, in {uri}: clear the task again"):
        context.table("frame.parquet", recorded)


def test_a_frame_that_is_gone_is_a_missing_object(context):
    with pytest.raises(MissingObjectError, match=r"expected an object at s3://.*/frame\.parquet, got none"):
        context.frame("frame.parquet", "0" * 64)


def test_a_record_of_a_task(context):
    record = GateRecord(jobs=24, leaderboard_key="k")
    context.store.put(keys.run_record("run-1", "gate"), record.model_dump_json().encode())
    assert context.record(GateRecord, "gate") == record


def test_a_task_that_has_not_finished_is_named(context):
    uri = context.store.uri(keys.run_record("run-1", "gate"))
    with pytest.raises(MissingObjectError, match=rf"expected gate to have finished, got no record at {uri}: run that"):
        context.record(GateRecord, "gate")


def test_the_config_of_a_run(context):
    context.store.put(keys.run_config("run-1"), context.config.model_dump_json().encode())
    loaded = load_config(context.store, "run-1")
    assert loaded == context.config
    assert (context.run_id, context.params) == ("run-1", loaded.params)


def test_a_run_that_was_not_resolved_is_named(store):
    with pytest.raises(
        MissingObjectError, match=r"expected a resolved run 'nope', got no config at s3.*: run resolve_r"
    ):
        load_config(store, "nope")


@pytest.fixture
def proxy(s3_server):
    with FaultyS3(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def behind(context, proxy, s3_session):
    """The same run as a step sees it that reads through the proxy."""
    settings = context.settings.model_copy(update={"endpoint_url": proxy.endpoint_url, "retry_timeout_s": 0.5})
    context.store.put(keys.run_config("run-1"), context.config.model_dump_json().encode())
    context.store.put(keys.run_record("run-1", "gate"), RECORD.model_dump_json().encode())
    context.put_bytes("frame.parquet", parquet_bytes(FRAME))
    return StepContext(open_store(settings, s3_session), settings, context.config)


RECORD = GateRecord(jobs=24, leaderboard_key="k")
FRAME = pd.DataFrame({"x": [1.5, 2.5]})
SHA256 = hashlib.sha256(parquet_bytes(FRAME)).hexdigest()
READS = {
    keys.run_config("run-1"): lambda context: load_config(context.store, "run-1") == context.config,
    keys.run_record("run-1", "gate"): lambda context: context.record(GateRecord, "gate") == RECORD,
    keys.run_record("run-1", "gate") + "?": lambda context: context.standing(GateRecord, "gate") == RECORD,
    "frame.parquet": lambda context: context.frame("frame.parquet", SHA256).equals(FRAME),
    "frame.parquet?": lambda context: context.holds("frame.parquet", SHA256),
}
each_read = pytest.mark.parametrize(
    ("key", "read"), READS.items(), ids=["config", "record", "standing", "frame", "holds"]
)


@each_read
def test_own_file_that_came_cut_short_is_read_again(behind, proxy, key, read):
    proxy.rule = first(1, shorten, reading(key.rstrip("?")))
    assert read(behind)
    assert [request.method for request in proxy.log] == ["GET", "HEAD", "GET"]


@each_read
def test_own_file_that_always_comes_cut_short_is_no_matter_of_the_data(behind, proxy, key, read):
    proxy.rule = always(shorten, reading(key.rstrip("?")))
    with pytest.raises(TransientError, match=r"expected \d+ bytes, got \d+, in s3://"):
        read(behind)


def test_own_file_that_is_damaged_is_judged_at_once(behind, proxy):
    behind.store.put(keys.run_record("run-1", "gate"), b'{"jobs": 24')
    behind.store.put("frame.parquet", b"PAR1")
    proxy.log.clear()
    with pytest.raises(DataError, match="expected a valid GateRecord"):
        behind.record(GateRecord, "gate")
    with pytest.raises(DataError, match="expected sha256"):
        behind.frame("frame.parquet", SHA256)
    assert not behind.holds("frame.parquet", SHA256)
    assert [request.method for request in proxy.log] == ["GET", "HEAD"] * 3


def test_declared_widths_are_those_of_the_pinned_schema(context):
    schema = context.fused_schema(Strategy.CONCAT)
    assert schema.fused_dim == 13
    assert schema.modality_widths == {Modality.VIDEO: 5, Modality.AUDIO: 4, Modality.TEXT: 3}
    assert context.fused_schema(Strategy.SUM_POOL) is None
    context.store.put(keys.fused_schema(Strategy.CONCAT), json_bytes(SCHEMA | {"fused_dim": 99}))
    with pytest.raises(ChangedObjectError, match=r"schema\.json as it was when the run was resolved"):
        context.fused_schema(Strategy.CONCAT)


def test_equal_frames_are_equal_bytes():
    frame = pd.DataFrame({"x": [1, 2]}, index=[7, 3])
    assert parquet_bytes(frame) == parquet_bytes(frame.reset_index(drop=True))


def test_equal_rows_are_equal_bytes_whatever_holds_them(context):
    rng = np.random.default_rng(0)
    ids = pa.array([f"video-{number:06d}" for number in rng.permutation(300_000)])  # too many for one dictionary
    whole = pa.table({"video_id": ids, "n": pa.array(rng.integers(9, size=len(ids)))})
    cuts = [0, *np.sort(rng.choice(len(ids), 49, replace=False)).tolist(), len(ids)]
    pieces = pa.concat_tables([whole.slice(start, end - start) for start, end in pairwise(cuts)])
    key = pa.field("video_id", pa.string(), nullable=False, metadata={"a": "b"})
    declared = whole.cast(pa.schema([key, whole.schema.field("n")], metadata={"c": "d"}))
    assert pieces["video_id"].num_chunks == 50
    assert table_bytes(pieces) == table_bytes(declared) == table_bytes(whole)
    assert context.put_table("pieces.parquet", pieces) == hashlib.sha256(table_bytes(whole)).hexdigest()


def test_json_is_readable_and_refuses_what_json_does_not_have():
    assert json_bytes({"b": 1, "a": [None]}) == b'{\n  "a": [\n    null\n  ],\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_bytes({"r2": float("nan")})
