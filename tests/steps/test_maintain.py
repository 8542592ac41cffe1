"""The upkeep of all tables, on the records that real runs leave."""

import json
import logging
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import RECORD_LIMIT_BYTES, MaintenanceParams
from clipfarm_tasks.errors import ConfigError, DataError
from clipfarm_tasks.families import Strategy
from clipfarm_tasks.steps import maintain as step
from clipfarm_tasks.steps.maintain import maintain
from clipfarm_tasks.storage import Store
from clipfarm_tasks.vectors.pinned_versions import pinned_versions
from clipfarm_tasks.vectors.table import VectorTable, vectors

pytestmark = pytest.mark.integration

MODALITIES, CONCAT = keys.modalities_table(), keys.fused_table(Strategy.CONCAT)


def fill(store, key, count=4):
    """As many versions of a small table as asked for; returns the table."""
    table = VectorTable(store, key)
    for number in range(1, count + 1):
        ids = ["all", f"own{number}"]
        matrix = np.full((2, 3), number, np.float32)
        table.merge(pa.table({"video_id": pa.array(ids), "etag": pa.array([str(number)] * 2), "v": vectors(matrix)}))
    return table


def versions(table):
    return {version["version"] for version in table.open(None).versions()}


def etags(table, version):
    columns = table.open(version).to_table(columns=["video_id", "etag"]).to_pydict()
    return dict(zip(columns["video_id"], columns["etag"], strict=True))


def put(store, run_id, task, record):
    body = record if isinstance(record, bytes) else json.dumps(record).encode()
    store.put(keys.run_record(run_id, task), body)


@pytest.fixture
def two_months_later(monkeypatch):
    """The step believes that everything was written long ago."""

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=60)

    monkeypatch.setattr(step, "datetime", Later)


def test_nothing_to_maintain(store):
    record = maintain(store, {})
    assert (record.params, record.runs, record.tables) == (MaintenanceParams(), 0, {})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"keep_days": 0}, "maintenance parameters: keep_days: .* greater than or equal to 1, got 0"),
        ({"keep_days": -3, "dry_run": "perhaps"}, "keep_days: .*got -3; dry_run: .*got 'perhaps'"),
        ({"keep_day": 3}, "keep_day: Extra inputs are not permitted, got 3"),
    ],
)
def test_wrong_params_are_refused_before_anything_is_read(params, message):
    with pytest.raises(ConfigError, match=message):
        maintain(None, params)


def test_a_wrong_bucket_is_a_config_error(bucket, s3_session):
    from clipfarm_tasks.storage import open_store

    with pytest.raises(ConfigError, match="expected bucket no-such-bucket to exist"):
        maintain(open_store(bucket.model_copy(update={"bucket": "no-such-bucket"}), s3_session), {})


def test_what_a_real_run_trains_on_survives_and_its_folder_decides(upstream, run, store, two_months_later):
    upstream.upload()
    run.resolve(strategies=[Strategy.CONCAT, Strategy.MAX_POOL])
    splits = run.splits()
    pinned = {table: version for record in splits.values() for table, version in record.tables.items()}
    assert pinned.keys() == {"modalities", "fused_concat", "fused_max_pool"}
    tables = {name: VectorTable(store, f"clipfarm/vectors/{name}.lance") for name in pinned}
    before = {
        name: table.open(pinned[name]).to_table(columns=["video_id"]).to_pydict() for name, table in tables.items()
    }
    for table in tables.values():  # another run adds a video
        first = table.open(None).to_table().slice(0, 1)
        table.merge(first.set_column(0, "video_id", pa.array(["new"])))
    record = maintain(store, {})
    assert record.runs == 1
    assert record.tables.keys() == pinned.keys()
    assert len(json.dumps(record.model_dump(mode="json"))) < RECORD_LIMIT_BYTES
    for name, table in tables.items():
        assert record.tables[name].versions_pinned == 1
        assert record.tables[name].pins_lost == 0
        assert table.open(pinned[name]).to_table(columns=["video_id"]).to_pydict() == before[name]
        assert table.open(None).tags.list()[f"pinned-v{pinned[name]}"]["version"] == pinned[name]
    assert maintain(store, {}).tables["modalities"].versions_pinned == 1
    store.delete(info.key for info in store.list(keys.run_prefix(run.id)))
    record = maintain(store, {})
    assert record.runs == 0
    for name, table in tables.items():
        assert record.tables[name].versions_dropped >= 1
        assert versions(table) == {table.version()}
        assert table.open(None).tags.list() == {}


def test_a_run_under_way_is_pinned_by_what_it_reconstructed(upstream, run, store):
    upstream.upload()
    run.resolve()
    fused, modalities = run.vectors()
    pins = pinned_versions(store)
    record = fused[Strategy.CONCAT]
    assert pins.by_table == {"modalities": {modalities.version: {run.id}}, record.table: {record.version: {run.id}}}
    assert pins.unreadable == {}


def test_every_kept_run_pins_its_own_version(store, two_months_later):
    table = fill(store, MODALITIES, 5)
    before = {version: etags(table, version) for version in (2, 4)}
    put(store, "a", "concat_7d.build_split", {"tables": {"modalities": 2, "fused_concat": 1}})
    put(store, "b", "reconstruct_modalities", {"table": "modalities", "version": 4})
    record = maintain(store, {"keep_days": 1})
    assert record.tables.keys() == {"modalities"}
    assert (record.runs, record.tables["modalities"].versions_dropped) == (2, 2)
    assert {version: etags(table, version) for version in (2, 4)} == before


def test_keep_days_is_what_is_kept(store, two_months_later):
    fill(store, MODALITIES)
    for days in (36_500, 61):
        assert maintain(store, {"keep_days": days}).tables["modalities"].versions_dropped == 0
    assert maintain(store, {"keep_days": 59}).tables["modalities"].versions_dropped >= 3


def test_a_dry_run_changes_nothing(store, two_months_later):
    fill(store, MODALITIES)
    put(store, "a", "reconstruct_modalities", {"table": "modalities", "version": 2})
    before = [(info.key, info.etag) for info in store.list("")]
    record = maintain(store, {"dry_run": True})
    assert [(info.key, info.etag) for info in store.list("")] == before
    assert record.tables["modalities"].versions_dropped == 2
    assert record.params.dry_run


OTHER_RELEASE = {"version": 2, "table": "modalities", "a_field_of_another_release": [1, 2, 3]}


@pytest.mark.parametrize(
    ("task", "record"),
    [
        ("reconstruct_modalities", OTHER_RELEASE),
        ("concat_90d.build_split", {"tables": {"modalities": 2}, "horizon": 90}),
        ("mean_pool_7d.build_split", {"tables": {"modalities": 2, "fused_mean_pool": 3}}),
    ],
)
def test_a_record_of_another_release_pins_too(store, two_months_later, task, record):
    table = fill(store, MODALITIES)
    put(store, "a", task, record)
    assert maintain(store, {}).tables["modalities"].versions_dropped == 2
    assert 2 in versions(table)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"tables": {}}',
        b'{"tables": {"modalities": "2"}}',
        b'{"tables": ["modalities"]}',
        b'{"table": "modalities", "version": null}',
        b'{"table": "modalities", "version": true}',
        b'{"version": 2}',
    ],
)
@pytest.mark.parametrize(
    ("task", "others"),
    [
        ("reconstruct_modalities", {"fused_concat"}),
        ("reconstruct_fused_concat", {"modalities"}),
        ("concat_7d.build_split", set()),
    ],
)
def test_a_record_that_cannot_be_read_is_named_and_nothing_of_its_tables_is_touched(monkeypatch, body, task, others):
    """Which tables are maintained; that a table which is not maintained keeps its versions needs no server."""

    class Bucket:
        def list(self, prefix):
            key = keys.run_record("a", task)
            return [type("Info", (), {"key": key})] if key.startswith(prefix) else []

        def get_listed(self, objects):
            return [(info, type("Fetched", (), {"body": body})) for info in objects]

        def uri(self, key):
            return f"s3://bucket/{key}"

    maintained = set()
    monkeypatch.setattr(step, "VectorTable", lambda store, key: keys.table_name(key))
    monkeypatch.setattr(step, "maintain_table", lambda table, *arguments, **options: maintained.add(table))
    with pytest.raises(DataError, match=rf"s3://bucket/{keys.run_record('a', task)}.* mend the record") as caught:
        maintain(Bucket(), {})
    assert maintained == {"fused_sum_pool", "fused_max_pool"} | others
    assert {name for name in ("modalities", "fused_concat") if f"{name}: s3://" in str(caught.value)} == (
        {"modalities", "fused_concat"} - others
    )


def test_an_unreadable_record_beside_readable_ones_keeps_every_version(store, two_months_later):
    kept, maintained = fill(store, MODALITIES), fill(store, CONCAT)
    put(store, "a", "reconstruct_modalities", {"table": "modalities", "version": 2})
    put(store, "b", "reconstruct_modalities", b"{")
    with pytest.raises(DataError, match=r"modalities: s3://.*/run_id=b/records/reconstruct_modalities.json"):
        maintain(store, {})
    assert versions(kept) == {1, 2, 3, 4}
    assert not {1, 2, 3} & versions(maintained)


def test_records_that_pin_nothing_and_other_objects_are_not_read(store, monkeypatch):
    for task in ("resolve_manifest_concat", "filter_metadata_7d", "concat_7d.train_ridge", "gate"):
        put(store, "a", task, b"{")
    store.put(f"{keys.run_prefix('a')}shared/records/reconstruct_modalities.json", b"{")
    put(store, "a", "reconstruct_modalities", {"table": "modalities", "version": 1})
    read = []
    get_listed = Store.get_listed
    monkeypatch.setattr(
        Store, "get_listed", lambda self, objects: get_listed(self, (read.append(o.key) or o for o in objects))
    )
    assert pinned_versions(store).by_table == {"modalities": {1: {"a"}}}
    assert read == [keys.run_record("a", "reconstruct_modalities")]


def test_a_run_that_is_deleted_meanwhile_pins_nothing(store, monkeypatch):
    put(store, "a", "reconstruct_modalities", {"table": "modalities", "version": 1})
    put(store, "b", "reconstruct_modalities", {"table": "modalities", "version": 2})
    listed = Store.list

    def list_then_delete(self, prefix):
        found = listed(self, prefix)
        self.delete([keys.run_record("a", "reconstruct_modalities")])
        return found

    monkeypatch.setattr(Store, "list", list_then_delete)
    assert pinned_versions(store).by_table == {"modalities": {2: {"b"}}}


def test_a_lost_pin_names_run_and_table(store, caplog):
    fill(store, MODALITIES)
    put(store, "gone-run", "reconstruct_modalities", {"table": "modalities", "version": 44})
    with caplog.at_level(logging.WARNING):
        assert maintain(store, {}).tables["modalities"].pins_lost == 1
    [message] = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "version 44 of s3://" in message
    assert MODALITIES in message
    assert "gone-run" in message
