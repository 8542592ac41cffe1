import pandas as pd
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import ChangedObjectError, DataError, MissingObjectError
from clipfarm_tasks.families import Horizon
from clipfarm_tasks.storage import open_store
from tests.faulty_s3 import FaultyS3

BOTH = {"horizons": [7, 30]}


@pytest.fixture
def proxy(s3_server):
    with FaultyS3(s3_server.endpoint_url) as proxy:
        yield proxy


def test_a_run_reads_the_csv_exactly_once(upstream, run, bucket, s3_session, proxy):
    upstream.upload()
    run.settings = bucket.model_copy(update={"endpoint_url": proxy.endpoint_url})
    run.store = open_store(run.settings, s3_session)
    run.resolve(**BOTH)
    run.whole()
    asked = [(request.method, request.key) for request in proxy.log]
    assert asked.count(("GET", keys.METADATA_CSV)) == 0
    assert asked.count(("GET", run.context.config.copies[keys.METADATA_CSV].key)) == 1
    for horizon in Horizon:
        assert asked.count(("GET", keys.scanned_metadata(run.id, horizon))) == 1


def test_one_file_for_each_requested_horizon_and_no_other(upstream, run):
    upstream.metadata = pd.concat([upstream.metadata, upstream.metadata.head(3)])
    upstream.upload()
    run.resolve(**BOTH)
    record = run.step("scan_metadata")
    assert record.rows_read == 51
    assert {horizon: item.rows for horizon, item in record.horizons.items()} == {Horizon.D7: 27, Horizon.D30: 24}
    for horizon, item in record.horizons.items():
        frame = run.frame(item.key)
        assert frame["video_id"].tolist() == [
            *upstream.metadata.loc[upstream.metadata["horizon_days"] == horizon, "video_id"]
        ]
        assert not {"title", "view_count"} & set(frame.columns)
    assert len(run.files(f"{keys.run_prefix(run.id)}metadata/")) == 2
    run.resolve("run-2", horizons=[30])
    assert list(run.step("scan_metadata").horizons) == [Horizon.D30]


def test_same_csv_gives_the_same_bytes(upstream, run):
    upstream.upload()
    run.resolve(**BOTH)
    assert run.step("scan_metadata") == run.step("scan_metadata")


def test_csv_that_upstream_appends_to_is_read_as_it_was(upstream, run, store):
    upstream.upload()
    run.resolve()
    store.put(keys.METADATA_CSV, store.get(keys.METADATA_CSV) + b"vid000,late\n")
    assert run.step("scan_metadata").rows_read == len(upstream.metadata)


def test_copy_of_the_csv_that_somebody_overwrote_is_refused(upstream, run, store):
    upstream.upload()
    run.resolve()
    copy = run.context.config.copies[keys.METADATA_CSV].key
    store.put(copy, store.get(copy) + b"vid000,late\n")
    with pytest.raises(ChangedObjectError, match=f"{copy} as it was when the run was resolved, got another"):
        run.step("scan_metadata")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "got an empty file"),
        (b"video_id,horizon_days,horizon_view_count\n", "got a header only"),
        (b"video_id,horizon_days\nv,7\n", "got none named horizon_view_count"),
        (b"video_id,horizon_days,horizon_view_count,video_id\n", "'video_id' repeated"),
        (b"video_id,horizon_days,horizon_view_count\nv,7\n", "got 1 rows with another count"),
        (b'video_id,horizon_days,horizon_view_count\n"v,7,1\n', "quoted field to be closed"),
    ],
)
def test_unusable_csv_is_named_with_its_rule_and_leaves_nothing(upstream, run, body, message):
    upstream.raw[keys.METADATA_CSV] = body
    upstream.upload()
    run.resolve()
    with pytest.raises(DataError, match=message) as info:
        run.step("scan_metadata")
    assert keys.METADATA_CSV in str(info.value)
    assert run.files(f"{keys.run_prefix(run.id)}metadata/") == {}
    with pytest.raises(MissingObjectError, match="expected scan_metadata to have finished, got no record"):
        run.step("filter_metadata", horizon=Horizon.D7)
