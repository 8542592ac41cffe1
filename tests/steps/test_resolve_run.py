import json
import re

import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import ConfigError, MissingObjectError, TransientError
from clipfarm_tasks.families import Family, Horizon, Strategy
from clipfarm_tasks.steps.context import load_config
from clipfarm_tasks.steps.resolve_run import resolve_run
from clipfarm_tasks.storage import open_store


@pytest.fixture(autouse=True)
def _uploaded(upstream):
    upstream.upload()


def test_config_pins_params_inputs_and_code(store, run):
    record = run.resolve(seed=3)
    config = load_config(store, record.run_id)
    assert record.run_id == "run-1"
    assert record.config_key == "clipfarm/runs/run_id=run-1/config.json"
    assert (record.strategies, record.horizons, record.models) == ((Strategy.CONCAT,), (Horizon.D7,), (Family.RIDGE,))
    assert record.digest == config.digest == config.digest_of(config.params, config.inputs, config.code)
    assert config.params.seed == 3
    for pinned in (config.inputs.metadata, config.inputs.manifests["concat"], config.inputs.schemas["concat"]):
        head = store.head(pinned.key)
        assert (pinned.etag, pinned.size) == (head.etag, head.size)
    assert config.supersedes is None
    assert config.as_of == config.resolved_at


def test_a_config_of_a_release_that_had_no_presets_is_read(store, run):
    record = run.resolve()
    document = json.loads(store.get(record.config_key))
    assert document["params"].pop("preset_version") is None
    assert document["inputs"].pop("presets") is None
    store.put(record.config_key, json.dumps(document).encode())
    config = load_config(store, record.run_id)
    assert (config.params.preset_version, config.inputs.presets) == (None, None)


def test_same_params_and_inputs_reuse_the_run(store):
    first = resolve_run(store, {"seed": 1}, "daily", "2026-11-22T00:00:00+00:00")
    body = store.get(first.config_key)
    again = resolve_run(store, {"seed": 1}, "daily", "2031-01-01T00:00:00+00:00")
    assert again == first
    assert store.get(first.config_key) == body


def test_other_params_under_a_taken_id_become_a_new_run(store):
    first = resolve_run(store, {"seed": 1}, "daily")
    second = resolve_run(store, {"seed": 2}, "daily")
    assert second.run_id == f"daily-{second.digest[:8]}"
    assert load_config(store, second.run_id).supersedes == "daily"
    assert load_config(store, first.run_id).params.seed == 1
    assert resolve_run(store, {"seed": 2}, "daily") == second
    assert resolve_run(store, {"seed": 1}, "daily") == first


@pytest.mark.parametrize("key", [keys.METADATA_CSV, keys.fused_manifest("concat"), keys.fused_schema("concat")])
def test_changed_input_under_a_taken_id_becomes_a_new_run(store, run, key):
    first = run.resolve()
    store.put(key, store.get(key) + b"\n")
    second = run.resolve()
    assert second.run_id == f"run-1-{second.digest[:8]}"
    assert second.digest != first.digest


def test_input_of_a_strategy_that_is_not_asked_for_does_not_matter(store, run):
    first = run.resolve()
    store.put(keys.fused_manifest("sum_pool"), b"other")
    assert run.resolve() == first


@pytest.mark.parametrize(
    ("source", "run_id"),
    [
        ("manual__2026-11-22T00:00:00+00:00", "manual__2026-11-22T00-00-00-00-00"),
        ("scheduled__2026-11-22T00:00:00.123456+00:00", "scheduled__2026-11-22T00-00-00.123456-00-00"),
        ("a/../b c=é", "a-..-b-c"),
        ("x" * 300, "x" * 120),
        ("///", "run"),
    ],
)
def test_unsafe_run_ids_become_one_path_segment(store, source, run_id):
    record = resolve_run(store, {}, source)
    assert record.run_id == run_id
    assert re.fullmatch(r"[A-Za-z0-9._-]+", record.run_id)
    assert load_config(store, run_id).source_run_id == source


def test_order_of_a_selection_does_not_matter(store):
    one = resolve_run(store, {"strategies": ["max_pool", "concat"], "horizons": ["30", "7"]}, "a")
    other = resolve_run(store, {"strategies": ["concat", "max_pool"], "horizons": [7, 30]}, "b")
    assert one.digest == other.digest
    assert one.strategies == (Strategy.CONCAT, Strategy.MAX_POOL)
    assert one.horizons == (Horizon.D7, Horizon.D30)


def test_missing_metadata_is_a_file_not_found_error(store):
    store.delete([keys.METADATA_CSV])
    with pytest.raises(MissingObjectError, match=f"expected the metadata CSV at .*{keys.METADATA_CSV}, got no") as info:
        resolve_run(store, {}, "r")
    assert isinstance(info.value, FileNotFoundError)
    assert store.list(keys.run_prefix("r")) == []


def test_missing_manifest_is_pinned_as_absent(store):
    store.delete([keys.fused_manifest("max_pool")])
    config = load_config(store, resolve_run(store, {}, "r").run_id)
    assert config.inputs.manifests["max_pool"] is None
    assert config.inputs.manifests["concat"] is not None


@pytest.mark.parametrize("label", ["a/b", "../x", "x" * 300])
def test_every_wrong_param_is_in_one_message(store, label):
    wrong = {
        "strategies": ["concat", "mean_pool"],
        "horizons": [14],
        "seed": -1,
        "rank_metric": "foo",
        "run_label": label,
        "train_ratio": 0.9,
        "surprise": 1,
    }
    with pytest.raises(ConfigError) as info:
        resolve_run(store, wrong, "r")
    message = str(info.value)
    assert "run parameters: 7 problem(s)" in message
    for part in ("mean_pool", "14", "-1", "'foo'", label, "must be 1, got 0.9 + 0.15 + 0.15", "surprise"):
        assert part in message
    assert store.list(keys.run_prefix("r")) == []


def test_an_extra_feature_that_the_contract_forbids_is_refused_by_name(store):
    with pytest.raises(ConfigError, match=r"extra_features: expected no column that the contract .*, got 'viewCount'"):
        resolve_run(store, {"extra_features": ["viewCount", "digg_count"]}, "r")
    assert store.list(keys.run_prefix("r")) == []


def test_wrong_bucket_fails_at_once_with_advice(bucket, s3_session):
    elsewhere = open_store(bucket.model_copy(update={"bucket": "no-such-bucket"}), s3_session)
    with pytest.raises(ConfigError, match="expected bucket no-such-bucket to exist .* check CLIPFARM_BUCKET"):
        resolve_run(elsewhere, {}, "r")


def test_inputs_are_copied_so_that_nothing_changes_under_the_run(store, run):
    config = load_config(store, run.resolve().run_id)
    originals = (config.inputs.metadata, config.inputs.manifests["concat"], config.inputs.schemas["concat"])
    bodies = {pinned.key: store.get(pinned.key) for pinned in originals}
    assert config.copies.keys() == bodies.keys()
    for key in bodies:
        store.put(key, b"appended to")
    for pinned in originals:
        kept = config.kept(pinned)
        assert kept.key.startswith(keys.run_prefix("run-1"))
        assert store.get(kept.key, kept.etag, kept.size) == bodies[pinned.key]
    run.step("scan_metadata")
    assert run.step("resolve_manifest", Strategy.CONCAT).rows == 24


def overwrite_while_copying(store, monkeypatch, times):
    copy, count = store.copy, iter(range(times))

    def copy_late(source, target, size=0):
        if next(count, None) is not None:
            store.put(source, store.get(source) + b"\n")
        copy(source, target, size)

    monkeypatch.setattr(store, "copy", copy_late)


def test_an_input_that_is_overwritten_while_it_is_copied_is_pinned_again(store, run, monkeypatch):
    overwrite_while_copying(store, monkeypatch, 2)
    config = load_config(store, run.resolve().run_id)
    metadata = store.head(keys.METADATA_CSV)
    assert (config.inputs.metadata.etag, config.inputs.metadata.size) == (metadata.etag, metadata.size)
    assert store.get(config.kept(config.inputs.metadata).key) == store.get(keys.METADATA_CSV)


def test_inputs_that_never_stand_still_are_transient(store, run, monkeypatch):
    overwrite_while_copying(store, monkeypatch, 100)
    with pytest.raises(TransientError, match="expected the inputs of run 'run-1' to stand still .* overwritten 5 time"):
        run.resolve()
    assert store.head(keys.run_config("run-1")) is None


def test_versions_of_the_tables_make_no_other_run(store, run):
    run.resolve("first")
    run.vectors()
    assert load_config(store, run.resolve("second").run_id).digest == load_config(store, "first").digest


def test_text_of_the_last_complete_run_is_pinned(store, run):
    assert load_config(store, run.resolve("first").run_id).text_present_before is None
    run.vectors()
    store.put(keys.run_record("first", "gate"), b"{}")
    assert load_config(store, run.resolve("second").run_id).text_present_before == 20 / 24


def test_id_taken_by_a_run_of_another_release_gets_a_suffix(upstream, run, store):
    """A config this release cannot read is another run's, not an end of the road."""
    upstream.upload()
    first = run.resolve()
    document = json.loads(store.get(first.config_key))
    del document["code"]
    document["of_another_release"] = 1
    document["digest"] = "0" * 64
    store.put(first.config_key, json.dumps(document).encode())
    second = run.resolve()
    assert second.run_id == f"{first.run_id}-{second.digest[:8]}"
