from pathlib import Path

import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import RECORD_LIMIT_BYTES
from clipfarm_tasks.errors import ConfigError, MissingObjectError
from clipfarm_tasks.families import Family, Horizon, Strategy
from clipfarm_tasks.graph import tasks_of
from clipfarm_tasks.steps import catalog
from clipfarm_tasks.steps.catalog import STEPS, execute


def test_every_step_of_the_catalog_has_its_file_and_function(repository):
    folder = repository / "clipfarm_tasks" / "steps"
    assert {*STEPS, "resolve_run"} <= {path.stem for path in Path(folder).glob("*.py")}


def test_unknown_step(store, bucket):
    with pytest.raises(ConfigError, match="expected a step out of resolve_run, scan_metadata, .*, gate, got 'trian'"):
        execute("trian", store, bucket, "r")


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("train", {"strategy": Strategy.CONCAT}, "step train: expected --strategy, --horizon, --model, got --strategy"),
        ("filter_metadata", {}, "step filter_metadata: expected --horizon, got none"),
        ("gate", {"family": Family.RIDGE}, "step gate: expected no selector, got --model"),
        ("scan_metadata", {"horizon": Horizon.D7}, "step scan_metadata: expected no selector, got --horizon"),
        (
            "resolve_manifest",
            {"strategy": Strategy.CONCAT, "horizon": Horizon.D7},
            "expected --strategy, got --strategy, --h",
        ),
    ],
)
def test_missing_or_superfluous_selector(store, bucket, name, given, message):
    with pytest.raises(ConfigError, match=message):
        execute(name, store, bucket, "r", **given)


def test_unknown_run(store, bucket):
    with pytest.raises(MissingObjectError, match="resolved run 'nobody', got no config at .*: run resolve_run first"):
        execute("gate", store, bucket, "nobody")


def test_selector_that_the_run_does_not_request(upstream, run):
    upstream.upload()
    run.resolve()
    with pytest.raises(ConfigError, match="expected one of concat, which run run-1 requests, got max_pool"):
        run.step("resolve_manifest", Strategy.MAX_POOL)


def test_every_task_leaves_a_small_record(finished):
    ids = [task.id for task in tasks_of(finished.context.params)]
    stored = finished.files(f"{keys.run_prefix(finished.id)}records/")
    assert sorted(stored) == sorted(f"{name}.json" for name in ids)
    assert {name: len(body) for name, body in stored.items() if len(body) >= RECORD_LIMIT_BYTES} == {}


def test_other_code_than_that_which_resolved_the_run_is_refused(upstream, run, monkeypatch):
    upstream.upload()
    run.resolve()
    run.step("resolve_manifest", Strategy.CONCAT)
    monkeypatch.setattr(catalog, "source_sha256", lambda: "0" * 64)
    with pytest.raises(ConfigError, match="expected the code that resolved run run-1 .*, got source 0{12}: it was"):
        run.step("resolve_manifest", Strategy.CONCAT)


def test_leaderboard_is_written_after_a_deployment_too(upstream, run, monkeypatch):
    upstream.upload()
    run.resolve()
    monkeypatch.setattr(catalog, "source_sha256", lambda: "0" * 64)
    assert run.step("leaderboard").rows == 0
