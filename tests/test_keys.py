"""Keys, spelled out as readers and upstream know them."""

import inspect

import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.families import Family, Horizon, Modality, Strategy


def test_upstream_layout():
    assert keys.METADATA_CSV == "Data/raw/Metadata/shorts_metadata_horizon.csv"
    assert keys.fused_manifest(Strategy.CONCAT) == "clipfarm/fused/concat/fused_manifest.parquet"
    assert keys.fused_schema(Strategy.SUM_POOL) == "clipfarm/fused/sum_pool/schema.json"
    shard = "clipfarm/fused/max_pool/shards/date=2026-02-03/part-0007.npz"
    assert keys.fused_shard(Strategy.MAX_POOL, "2026-02-03", 7) == shard
    assert keys.embedding(Modality.AUDIO, "v1") == "clipfarm/embeddings/audio/v1.npy"


def test_snapshot_layout():
    job = "clipfarm/models/snapshots/run_id=r/model=gated_fusion_mlp/strategy=concat/horizon=7/"
    assert keys.job_snapshot("r", Family.GATED_FUSION_MLP, Strategy.CONCAT, Horizon.D7) == job
    pair = "clipfarm/models/snapshots/run_id=r/strategy=sum_pool/horizon=30/"
    assert keys.pair_snapshot("r", Strategy.SUM_POOL, Horizon.D30) == pair
    assert keys.comparison("r") == "clipfarm/models/snapshots/run_id=r/comparison/"
    assert keys.SUCCESS == "_SUCCESS"


def test_tables_and_working_set():
    assert keys.fused_table(Strategy.MAX_POOL) == "clipfarm/vectors/fused_max_pool.lance"
    assert keys.modalities_table() == "clipfarm/vectors/modalities.lance"
    assert keys.run_config("r") == "clipfarm/runs/run_id=r/config.json"


def test_task_ids_are_those_of_the_graph():
    assert keys.task_id("gate") == "gate"
    assert keys.task_id("filter_metadata", horizon=Horizon.D30) == "filter_metadata_30d"
    assert keys.task_id("resolve_manifest", Strategy.SUM_POOL) == "resolve_manifest_sum_pool"
    assert keys.task_id("build_split", Strategy.CONCAT, Horizon.D7) == "concat_7d.build_split"
    assert keys.task_id("train", Strategy.CONCAT, Horizon.D7, Family.RIDGE) == "concat_7d.train_ridge"


def working_set(run_id):
    """Every key of a run, by every combination."""
    yield keys.run_config(run_id)
    yield keys.run_record(run_id, "gate")
    for horizon in Horizon:
        yield keys.scanned_metadata(run_id, horizon)
        yield keys.filtered_metadata(run_id, horizon)
        yield keys.metadata_report(run_id, horizon)
    for table in ("fused_concat", "modalities"):
        yield keys.vector_rows(run_id, table, "0" * 64)
        yield keys.quarantine(run_id, table)
    targets = []
    for strategy in Strategy:
        yield keys.resolved_manifest(run_id, strategy)
        for horizon in Horizon:
            yield keys.split_manifest(run_id, strategy, horizon, "a" * 64)
            targets.append(keys.pair_snapshot(run_id, strategy, horizon))
            targets += [keys.job_snapshot(run_id, family, strategy, horizon) for family in Family]
    for family in Family:
        yield keys.shared_fit(run_id, family, "0" * 64)
    for target in targets:
        yield keys.commit(target, run_id)
        yield keys.staging(target, run_id, "1")
        yield keys.staging(target, run_id, "2")


def test_no_two_things_of_a_run_share_a_key_or_leave_its_folder():
    found = list(working_set("r"))
    assert len(found) == 2 + 2 * 3 + 2 * 2 + 3 + 6 + 6 + 42 * 3
    assert len(set(found)) == len(found)
    assert all(key.startswith("clipfarm/runs/run_id=r/") for key in found)


def test_no_key_of_one_run_is_a_key_of_another():
    assert set(working_set("a")) & set(working_set("ab")) == set()


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("scheduled__2026-03-01T00:00:00+00:00", "scheduled__2026-03-01T00-00-00-00-00"),
        ("nightly_7.b-2", "nightly_7.b-2"),
        ("a/../b", "a-..-b"),
        ("../..", "run"),
        ("", "run"),
        ("  ", "run"),
        ("лось", "run"),
        ("a\nb=c", "a-b-c"),
        ("x" * 500, "x" * 120),
    ],
)
def test_safe_run_id(given, safe):
    assert keys.safe_run_id(given) == safe


def test_safe_run_id_changes_nothing_when_applied_again():
    for given in ("a/b", "-a-", ".hidden", "x" * 119 + "-y", "x" * 119 + ":::y"):
        once = keys.safe_run_id(given)
        assert keys.safe_run_id(once) == once
        assert "/" not in once


def test_run_and_task_are_told_by_a_record_s_key_alone():
    for task in ("gate", "concat_7d.build_split", "a task of another release"):
        assert keys.run_and_task(keys.run_record("run-1", task)) == ("run-1", task)
    record = keys.run_record("r", "gate")
    others = (keys.run_config("r"), record.replace("records", "shared/records"), f"{record}.tmp", f"old/{record}")
    assert [keys.run_and_task(key) for key in others] == [None] * len(others)
    assert keys.run_prefix("r").startswith(keys.RUNS)


def test_every_key_function_says_what_it_is_for():
    functions = [f for name, f in inspect.getmembers(keys, inspect.isfunction) if not name.startswith("_")]
    assert len(functions) >= 20
    assert all(function.__doc__ for function in functions)
