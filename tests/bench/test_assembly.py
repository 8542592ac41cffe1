"""The arrays that are timed are the right ones: the pipeline's and the first script's are equal."""

import io
import threading

import pandas as pd
import pytest
from obstore.store import S3Store

from bench.assembly import assemble
from bench.baseline import FirstScript, latest_rows
from bench.buckets import DataSet
from bench.floor import measure_floor, wanted_keys
from bench.rows.cold_assembly import check_equal
from bench.rows.incremental import without_newest
from clipfarm_tasks import keys
from clipfarm_tasks.errors import DataError, TransientError
from clipfarm_tasks.families import Strategy
from clipfarm_tasks.sample.write import write_sample
from clipfarm_tasks.stack.seaweed import REGION
from clipfarm_tasks.steps.catalog import execute
from tests.eventually import PATIENCE_S

VIDEOS, WIDTH = 60, 8


@pytest.fixture
def data_set(store, s3_server):
    write_sample(store, videos=VIDEOS, width=WIDTH)
    return DataSet("a few videos", store, s3_server.environment() | {"CLIPFARM_BUCKET": store.bucket})


@pytest.fixture
def client(s3_server, store):
    return S3Store(
        store.bucket,
        endpoint=s3_server.endpoint_url,
        access_key_id=s3_server.access_key,
        secret_access_key=s3_server.secret_key,
        region=REGION,
        client_options={"allow_http": True},
    )


def test_baseline_and_pipeline_assemble_the_same_arrays(data_set, s3_server, tmp_path):
    assembled = assemble(data_set.store)
    shapes = {name: array.shape for name, array in assembled.arrays.items()}
    rows = len(assembled.video_ids)
    assert VIDEOS - 4 < rows < VIDEOS, "the sample lacks a few vectors"
    assert shapes == {
        "fused_concat": (rows, 3 * WIDTH + 1),
        "fused_sum_pool": (rows, WIDTH + 1),
        "fused_max_pool": (rows, WIDTH + 1),
        "video": (rows, WIDTH),
        "audio": (rows, WIDTH),
        "text": (rows, WIDTH),
    }
    baseline = FirstScript(s3_server.client(), data_set.store.bucket, tmp_path).everything()
    check_equal(assembled.arrays, baseline)
    baseline["text"][3, 2] += 1
    with pytest.raises(DataError, match="in text of the baseline"):
        check_equal(assembled.arrays, baseline)


def test_the_floor_fetches_what_a_cold_assembly_fetches(data_set, client):
    wanted = wanted_keys(data_set.store)
    assert assemble(data_set.store).objects == len(wanted)
    floor = measure_floor(client, wanted, repeats=2)
    assert floor.seconds.runs == 2
    assert floor.how.split()[1] in {"threads", "coroutines"}


def test_a_second_run_fetches_nothing_until_the_bucket_is_cleared(data_set):
    first = assemble(data_set.store)
    second = assemble(data_set.store)
    assert (second.objects, second.object_bytes) == (0, 0)
    check_equal(first.arrays, second.arrays)
    assert second.seconds == pytest.approx(sum(second.seconds_by_phase.values()))
    assert list(second.seconds_by_phase) == ["resolve", "manifests", "update", "read"]
    assert all(seconds > 0 for seconds in second.seconds_by_phase.values())
    data_set.clear()
    assert assemble(data_set.store).objects == first.objects


def test_tasks_run_side_by_side_in_the_phases_of_the_graph(data_set, monkeypatch):
    running, begun = set(), {"resolve_manifest": threading.Barrier(3), "reconstruct": threading.Barrier(4)}

    def meet(step, *arguments):
        # Passes only when all tasks of the phase have begun, and none of another phase is still at work.
        running.add(step.partition("_")[0])
        assert len(running) == 1
        begun[step if step in begun else "reconstruct"].wait(timeout=PATIENCE_S)
        running.discard(step.partition("_")[0])
        return execute(step, *arguments)

    monkeypatch.setattr("bench.assembly.execute", meet)
    found = assemble(data_set.store)
    assert len(found.seconds_by_part) == 3 + 4 + 4, "tasks, and tables read"
    slowest = max(seconds for part, seconds in found.seconds_by_part.items() if part.startswith("reconstruct"))
    assert slowest <= found.seconds_by_phase["update"] < found.seconds


def test_the_baseline_takes_the_videos_of_the_first_shards(data_set, s3_server, tmp_path):
    rows = latest_rows(io.BytesIO(data_set.store.get(keys.fused_manifest(Strategy.MAX_POOL))))
    first = rows.sort_values(["fused_key", "shard_idx"])["video_id"].head(20)
    some = FirstScript(s3_server.client(), data_set.store.bucket, tmp_path, videos=20).fused(Strategy.MAX_POOL)
    assert set(some) == set(first)


def test_the_baseline_names_the_object_that_it_cannot_get(s3_server, tmp_path):
    script = FirstScript(s3_server.client(), "no such bucket", tmp_path)
    with pytest.raises(TransientError, match="expected an answer for s3://no such bucket/.*ParamValidationError"):
        script.everything()


def test_the_newest_tenth_is_cut_from_the_end_of_the_shards(data_set):
    body = data_set.store.get(keys.fused_manifest(Strategy.CONCAT))
    everything, older = (latest_rows(io.BytesIO(manifest)) for manifest in (body, without_newest(body)))
    place = everything.set_index("video_id")[["fused_key", "shard_idx"]].apply(tuple, axis=1)
    kept, cut = place[older["video_id"]], place.drop(older["video_id"])
    assert len(cut) == round(0.1 * VIDEOS)
    assert kept.max() < cut.min()


def test_the_latest_row_of_a_video_is_the_one_that_counts(data_set):
    body = data_set.store.get(keys.fused_manifest(Strategy.CONCAT))
    rows = latest_rows(io.BytesIO(body))
    assert len(rows) == VIDEOS < len(pd.read_parquet(io.BytesIO(body)))
    assert (rows["retry_count_at_write"] == 0).all(), "the sample marks superseded captures with 1"
