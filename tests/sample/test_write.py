import csv
import hashlib
import io
import json
from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import Modality, Strategy
from clipfarm_tasks.sample.write import write_sample

MANIFEST_COLUMNS = [
    "video_id", "captured_at", "source_hash", "fusion_strategy", "fused_dim", "fused_key", "shard_idx", "shard_n",
    "video_emb_key", "audio_emb_key", "text_emb_key", "text_present", "text_source", "text_state_status",
    "text_missing_reason", "fusion_status", "retry_count_at_write",
]  # fmt: skip


class FakeStore:
    """Keeps what it is given, in the order of writing."""

    def __init__(self):
        self.objects: dict[str, bytes] = {}

    def put_many(self, items: Iterable[tuple[str, bytes]]) -> int:
        before = len(self.objects)
        for key, body in items:
            assert key not in self.objects
            self.objects[key] = body
        return len(self.objects) - before


def digest(store: FakeStore) -> str:
    return hashlib.sha256(repr(sorted(store.objects.items())).encode()).hexdigest()


@pytest.fixture(scope="module")
def store() -> FakeStore:
    store = FakeStore()
    store.report = write_sample(store, videos=400, seed=5, width=16)
    return store


@pytest.fixture(scope="module", params=list(Strategy))
def strategy(request) -> Strategy:
    return request.param


@pytest.fixture(scope="module")
def manifest(store, strategy) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(store.objects[keys.fused_manifest(strategy)]))


def load(body: bytes):
    return np.load(io.BytesIO(body), allow_pickle=False)


def test_report_counts_what_was_written(store):
    assert store.report.objects == len(store.objects)
    assert store.report.bytes == sum(map(len, store.objects.values()))
    assert store.report.videos == 400


def test_equal_arguments_write_equal_bytes(store):
    again, other = FakeStore(), FakeStore()
    write_sample(again, videos=400, seed=5, width=16)
    write_sample(other, videos=400, seed=6, width=16)
    assert digest(again) == digest(store)
    assert digest(other) != digest(store)


def test_limits_are_checked_before_anything_is_written():
    store = FakeStore()
    with pytest.raises(ConfigError, match="expected videos to be at least 20, got 3, in the sample"):
        write_sample(store, videos=3)
    assert store.objects == {}


def test_manifests_and_metadata_are_written_last(store):
    tables = [*(key for s in Strategy for key in (keys.fused_manifest(s), keys.fused_schema(s))), keys.METADATA_CSV]
    assert list(store.objects)[-7:] == tables


def test_bodies_are_made_while_they_are_written():
    class Interrupted(FakeStore):
        def put_many(self, items):
            self.objects.update([next(iter(items))])
            raise InterruptedError

    store = Interrupted()
    with pytest.raises(InterruptedError):
        write_sample(store, videos=400, width=16)
    assert len(store.objects) == 1


def test_every_manifest_row_points_at_its_own_shard_row(store, strategy, manifest):
    assert list(manifest.columns) == MANIFEST_COLUMNS
    assert manifest["video_id"].nunique() == 400
    width = {"concat": 49, "sum_pool": 17, "max_pool": 17}[strategy]
    for key, rows in manifest.groupby("fused_key"):
        shard = load(store.objects[key])
        assert shard["vectors"].shape == (rows["shard_n"].iloc[0], width)
        assert shard["vectors"].dtype == np.float32
        np.testing.assert_array_equal(shard["video_ids"][rows["shard_idx"]], rows["video_id"])
        np.testing.assert_array_equal(shard["captured_at"][rows["shard_idx"]], rows["captured_at"])
        np.testing.assert_array_equal(shard["vectors"][rows["shard_idx"], -1], rows["text_present"])
    assert (manifest["fused_dim"] == width).all()
    assert (manifest["fusion_strategy"] == strategy).all()


def test_recaptured_videos_have_an_older_row_elsewhere_that_may_come_last_in_the_file(manifest):
    again = manifest[manifest["video_id"].duplicated(keep=False)]
    assert 0.03 < again["video_id"].nunique() / 400 < 0.15
    last_is_older = 0
    for _, rows in again.groupby("video_id", sort=False):
        assert rows["source_hash"].nunique() == rows["fused_key"].nunique() == rows["captured_at"].nunique() == 2
        last_is_older += rows["captured_at"].iloc[-1] < rows["captured_at"].iloc[0]
    assert 0 < last_is_older < again["video_id"].nunique()


def test_part_names_recur_under_several_dates(manifest):
    names = manifest["fused_key"].drop_duplicates().str.rsplit("/", n=1).str[-1]
    assert (names == "part-0000.npz").sum() == 4


def test_only_a_few_declared_vectors_are_absent(store, manifest):
    rows = manifest.drop_duplicates("video_id")
    absent = {m: {v for v in rows["video_id"] if keys.embedding(m, v) not in store.objects} for m in Modality}
    no_text = set(rows.loc[rows["text_present"] == 0, "video_id"])
    assert no_text < absent[Modality.TEXT]
    assert len(absent[Modality.TEXT] - no_text) == 2
    assert len(absent[Modality.VIDEO]) + len(absent[Modality.AUDIO]) == 1


def test_single_vectors_are_the_parts_of_the_latest_fused_row(store):
    manifest = pd.read_parquet(io.BytesIO(store.objects[keys.fused_manifest(Strategy.CONCAT)]))
    latest = manifest.sort_values("captured_at").drop_duplicates("video_id", keep="last")
    compared = 0
    for key, rows in latest.groupby("fused_key"):
        vectors = load(store.objects[key])["vectors"]
        for video_id, index in zip(rows["video_id"], rows["shard_idx"], strict=True):
            for place, modality in enumerate(("video", "audio", "text")):
                body = store.objects.get(keys.embedding(Modality(modality), video_id))
                if body is not None:
                    single = load(body)
                    assert single.dtype == np.float32
                    np.testing.assert_array_equal(single, vectors[index, 16 * place : 16 * (place + 1)])
                    compared += 1
    assert compared == sum(key.endswith(".npy") for key in store.objects) > 1000


def test_schemas_declare_the_widths(store, strategy, manifest):
    schema = json.loads(store.objects[keys.fused_schema(strategy)])
    assert schema["fusion_strategy"] == strategy
    assert schema["fused_dim"] == manifest["fused_dim"].iloc[0]
    assert [schema[f"{m}_dim"] for m in Modality] == [16, 16, 16]
    assert schema["mask_appended"] is True
    assert set(schema) == {
        "fusion_strategy", "video_dim", "audio_dim", "text_dim", "fused_dim", "mask_appended", "updated_at",
    }  # fmt: skip


def test_metadata_and_manifests_speak_of_the_same_videos(store, manifest):
    rows = csv.DictReader(io.StringIO(store.objects[keys.METADATA_CSV].decode(), newline=""))
    assert {row["video_id"] for row in rows} == set(manifest["video_id"])
