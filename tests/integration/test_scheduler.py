"""The DAGs under the real scheduler, on a real bucket, over Airflow's REST API: a good night, a bad one, a Sunday."""

import hashlib
import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.config import RunParams, Settings
from clipfarm_tasks.families import DEFAULT_FAMILIES, Family, Horizon, Strategy, model_names
from clipfarm_tasks.graph import tasks_of
from clipfarm_tasks.run_config import RunConfig
from clipfarm_tasks.stack.airflow_server import AirflowServer
from clipfarm_tasks.stack.errors import StackError
from tests.eventually import PATIENCE_S
from tests.integration.aged_tables import VECTORS, AgedTables, pinned_by_splits
from tests.integration.scheduler_api import Scheduled
from tests.integration.warm_tasks import warm_home

pytestmark = pytest.mark.integration

DAG_ID = "clipfarm_training"
MAINTENANCE = "clipfarm_maintenance"
BUCKET = "scheduled"
CODE = "scheduled-code"
OVERRIDES = {
    "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    "CLIPFARM_GIT_SHA": CODE,
}
STRATEGIES = (Strategy.CONCAT, Strategy.MAX_POOL)
FULL = {
    "strategies": [*STRATEGIES],
    "horizons": ["7"],
    "max_epochs": 2,
    "patience": 2,
    "projector_dim": 8,
    "run_label": "full",
}
AS_OPTIONS = (
    *("--strategy", "concat", "--strategy", "max_pool", "--horizon", "7"),
    *("--max-epochs", "2", "--patience", "2", "--projector-dim", "8", "--run-label", "full"),
)
BROKEN = {"strategies": ["concat", "max_pool"], "horizons": ["7"], "models": ["ridge"]}
WRONG = {"train_ratio": 0.9, "strategie": ["concat"], "horizons": ["7"]}
LOST = "resolve_manifest_max_pool"
REUSED = "concat_7d.train_ridge"
DAY = Horizon(7)
FULL_JOBS = [(strategy, DAY, family) for strategy in STRATEGIES for family in model_names(DEFAULT_FAMILIES)]


@pytest.fixture(scope="module")
def scheduled(s3_server, s3_session, tmp_path_factory):
    from clipfarm_tasks.sample.write import write_sample
    from clipfarm_tasks.storage import open_store

    s3_server.client().create_bucket(Bucket=BUCKET)
    environment = s3_server.environment() | {"CLIPFARM_BUCKET": BUCKET}
    store = open_store(Settings.from_environment(environment), s3_session)
    write_sample(store, videos=80, width=16)
    with (
        AirflowServer(warm_home(tmp_path_factory.mktemp("airflow")), environment, overrides=OVERRIDES) as airflow,
        airflow.client() as client,
    ):
        yield Scheduled(airflow, client, s3_server, store, DAG_ID)


@pytest.fixture(scope="module")
def full(scheduled):
    """A run over two strategies and all families, one horizon, triggered without a logical date."""
    return scheduled.trigger(FULL)


@pytest.fixture(scope="module")
def by_hand(scheduled, full, repository):
    """The same params from the command line, on the same bucket: (finished process, id of its run)."""
    environment = os.environ | scheduled.s3.environment() | {"CLIPFARM_BUCKET": BUCKET, "CLIPFARM_GIT_SHA": CODE}
    command = [sys.executable, "-m", "clipfarm_tasks", "run", "--run-id", "by-hand", "--jobs", "1", *AS_OPTIONS]
    process = subprocess.run(
        command, cwd=repository, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return "by-hand"


@pytest.fixture(scope="module")
def cleared_job(scheduled, full):
    """(objects before, record) of a finished training task that was cleared alone."""
    before = scheduled.objects(keys.snapshots_prefix(scheduled.pipeline_run(full)))
    scheduled.clear(full, REUSED, downstream=False)
    return before, scheduled.returned(full, REUSED)


@pytest.fixture(scope="module")
def red_box(scheduled):
    """A run while one strategy's manifest is missing: (run, states, tries, its id in the bucket)."""
    key = keys.fused_manifest(Strategy.MAX_POOL)
    manifest = scheduled.read(key)
    scheduled.s3_client.delete_object(Bucket=BUCKET, Key=key)
    run = scheduled.trigger(BROKEN)
    scheduled.s3_client.put_object(Bucket=BUCKET, Key=key, Body=manifest)
    return run, scheduled.states(run), scheduled.tries(run), scheduled.pipeline_run(run)


@pytest.fixture(scope="module")
def healed(scheduled, red_box):
    """The same run cleared from resolve_run after the manifest came back."""
    run, *_ = red_box
    before = scheduled.objects(keys.snapshots_prefix(red_box[3]))
    return scheduled.clear(run, "resolve_run", downstream=True), before


@pytest.fixture(scope="module")
def refused(scheduled):
    return scheduled.trigger(WRONG)


@pytest.fixture(scope="module")
def maintenance(scheduled):
    return scheduled.other(MAINTENANCE)


@pytest.fixture(scope="module")
def aged(scheduled, full):
    """The tables the runs above have filled, superseded twice, all of it two days ago."""
    return AgedTables(scheduled.store, STRATEGIES)


@pytest.fixture(scope="module")
def dry(maintenance, aged):
    """(run, whether anything in the tables changed) of a maintenance that only counts."""
    before = maintenance.objects(VECTORS)
    run = maintenance.trigger({"keep_days": 1, "dry_run": True})
    return run, maintenance.objects(VECTORS) != before


@pytest.fixture(scope="module")
def maintained(maintenance, aged, dry):
    return maintenance.trigger({"keep_days": 1, "dry_run": False})


def test_the_run_succeeds_and_does_what_it_was_asked(scheduled, full):
    assert scheduled.report(full)["state"] == "success"
    asked = {task.id for task in tasks_of(RunParams.parse(FULL))} | {"resolve_run"}
    states = scheduled.states(full)
    assert len(states) == 72
    assert {task for task, state in states.items() if state == "success"} == asked
    assert {state for task, state in states.items() if task not in asked} == {"skipped"}


def test_no_task_needed_a_second_try(scheduled, full):
    tries = scheduled.tries(full)
    assert {task: tried for task, tried in tries.items() if tried > 1 and task != REUSED} == {}


def test_across_an_edge_goes_one_small_record(scheduled, full):
    done = [task for task, state in scheduled.states(full).items() if state == "success"]
    for task in done:
        record = scheduled.returned(full, task)
        assert len(json.dumps(record).encode()) < 2048, task
        assert bulk(record) == [], task


def bulk(value, where=""):
    """Places in a record that hold a list of anything but the few names a person chose from."""
    if isinstance(value, dict):
        return [place for name, item in value.items() for place in bulk(item, f"{where}.{name}")]
    if isinstance(value, list):
        known = {*Strategy, *Family, *Horizon}
        return [] if set(value) <= known else [where]
    return [] if value is None or isinstance(value, str | int | float) else [where]


def test_a_list_of_numbers_is_found_in_a_record():
    assert bulk({"horizons": [7], "models": ["ridge"], "rows": 80}) == []
    assert bulk({"inner": {"vector": [0.5, 0.25]}}) == [".inner.vector"]


def test_the_leaderboard_lists_every_requested_job(scheduled, full):
    document = scheduled.comparison(scheduled.pipeline_run(full))
    listed = [
        (row["fusion_strategy"], row["target_horizon_days"], row["model"], row["status"]) for row in document["rows"]
    ]
    assert sorted(listed) == sorted((strategy, days, family, "ok") for strategy, days, family in FULL_JOBS)
    assert document["missing_jobs"] == []
    assert scheduled.returned(full, "leaderboard")["rows"] == scheduled.returned(full, "gate")["jobs"] == len(FULL_JOBS)


def test_every_snapshot_is_what_its_marker_says(scheduled, full):
    run_id = scheduled.pipeline_run(full)
    jobs = [keys.job_snapshot(run_id, family, strategy, days) for strategy, days, family in FULL_JOBS]
    folders = jobs + [keys.pair_snapshot(run_id, strategy, DAY) for strategy in STRATEGIES]
    written = scheduled.objects(keys.snapshots_prefix(run_id))
    assert {key.removesuffix(keys.SUCCESS) for key in written if key.endswith(keys.SUCCESS)} == set(folders)
    for folder in folders:
        marker = scheduled.read_json(f"{folder}{keys.SUCCESS}")
        present = {key.removeprefix(folder) for key in written if key.startswith(folder)} - {keys.SUCCESS}
        assert present == set(marker["files"])
        for name, entry in marker["files"].items():
            body = scheduled.read(f"{folder}{name}")
            assert (entry["size"], entry["sha256"]) == (len(body), hashlib.sha256(body).hexdigest()), f"{folder}{name}"
        assert marker["digest"] == scheduled.returned(full, "resolve_run")["digest"]


def test_the_record_of_resolve_run_and_the_config_agree(scheduled, full):
    record = scheduled.returned(full, "resolve_run")
    assert record["config_key"] == keys.run_config(record["run_id"])
    config = RunConfig.model_validate_json(scheduled.read(record["config_key"]))
    assert config.run_id == record["run_id"] == keys.safe_run_id(full)
    assert config.params == RunParams.parse(FULL)
    assert (record["strategies"], record["horizons"], record["models"]) == (
        list(STRATEGIES),
        [7],
        list(DEFAULT_FAMILIES),
    )
    assert config.digest == record["digest"] == RunConfig.digest_of(config.params, config.inputs, config.code)
    assert (config.source_run_id, config.code.git_sha, config.supersedes) == (full, CODE, None)
    head = scheduled.s3_client.head_object(Bucket=BUCKET, Key=keys.METADATA_CSV)
    assert config.inputs.metadata.size == head["ContentLength"]


def test_a_run_without_a_logical_date_is_as_of_the_time_it_was_due(scheduled, full):
    report = scheduled.report(full)
    assert report["logical_date"] is None
    config = scheduled.read_json(scheduled.returned(full, "resolve_run")["config_key"])
    assert pd.Timestamp(config["as_of"]) == pd.Timestamp(report["run_after"])


def test_the_command_line_reaches_the_same_numbers(scheduled, full, by_hand):
    run_id = scheduled.pipeline_run(full)
    assert scheduled.read_json(keys.run_config(by_hand))["digest"] == scheduled.returned(full, "resolve_run")["digest"]
    airflow, hand = (
        {(row.pop("metrics_key").replace(name, "RUN")): row for row in scheduled.compared(name)}
        for name in (run_id, by_hand)
    )
    assert len(airflow) == len(FULL_JOBS)
    assert airflow == hand
    for job in FULL_JOBS:
        for part in ("val", "test"):
            frames = [scheduled.predictions(name, *job, part) for name in (run_id, by_hand)]
            pd.testing.assert_frame_equal(*frames, check_exact=True)


def test_a_finished_job_that_is_cleared_is_reused(scheduled, full, cleared_job):
    before, record = cleared_job
    assert record["reused"] is True
    assert scheduled.tries(full)[REUSED] == 2
    assert scheduled.report(full)["state"] == "success"
    assert before
    assert scheduled.objects(keys.snapshots_prefix(scheduled.pipeline_run(full))) == before


def test_a_missing_manifest_fails_its_task_at_the_first_try(scheduled, red_box):
    run, states, tries, _ = red_box
    assert (states[LOST], tries[LOST]) == ("failed", 1)
    sentence = scheduled.failure(run, LOST)
    assert f"s3://{BUCKET}/{keys.fused_manifest(Strategy.MAX_POOL)}" in sentence
    assert states["max_pool_7d.publish_snapshot"] == "upstream_failed"


def test_the_other_strategies_go_on_and_the_gate_is_red(scheduled, red_box):
    run, states, tries, run_id = red_box
    assert {task: state for task, state in states.items() if state == "failed"} == {LOST: "failed", "gate": "failed"}
    assert tries["gate"] == 1
    assert states["concat_7d.publish_snapshot"] == "success"
    document = scheduled.comparison(run_id)
    listed = {row["fusion_strategy"]: row["status"] for row in document["rows"]}
    assert listed["concat"] == "ok"
    assert listed.get("max_pool") != "ok"
    assert document["missing_jobs_count"] == len(document["missing_jobs"]) == 1
    assert "max_pool_7d.train_ridge" in scheduled.failure(run, "gate")


def test_a_run_cleared_after_the_repair_is_a_new_run_with_a_suffix(scheduled, red_box, healed):
    run, _, _, first = red_box
    again, before = healed
    record = scheduled.returned(again, "resolve_run")
    assert record["run_id"] == f"{first}-{record['digest'][:8]}"
    assert scheduled.read_json(record["config_key"])["supersedes"] == first
    assert scheduled.report(run)["state"] == "success"
    rows = scheduled.comparison(record["run_id"])["rows"]
    assert {(row["fusion_strategy"], row["model"], row["status"]) for row in rows} == {
        ("concat", "ridge", "ok"),
        ("max_pool", "ridge", "ok"),
    }
    assert before
    assert scheduled.objects(keys.snapshots_prefix(first)) == before


def test_wrong_params_are_refused_with_all_problems_at_once(scheduled, refused):
    assert scheduled.report(refused)["state"] == "failed"
    assert scheduled.states(refused)["resolve_run"] == "failed"
    assert scheduled.tries(refused)["resolve_run"] == 1
    sentence = scheduled.failure(refused, "resolve_run")
    assert "run parameters: 2 problem(s)" in sentence
    assert "strategie: Extra inputs are not permitted, got ['concat']" in sentence
    assert "train_ratio + val_ratio + test_ratio must be 1, got 0.9 + 0.15 + 0.15 = 1.2" in sentence


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("strategies", ["mean_pool"]),
        ("horizons", ["14"]),
        ("seed", -1),
        ("rank_metric", "foo"),
        ("run_label", "a/b"),
        ("run_label", "x" * 300),
    ],
)
def test_a_value_the_form_can_check_starts_no_run(scheduled, name, value):
    with pytest.raises(StackError, match=f"got HTTP 400 .*Invalid input for param {name}"):
        scheduled.client.trigger(DAG_ID, {name: value})


def test_maintenance_tells_what_the_runs_pin_and_a_dry_one_changes_nothing(scheduled, full, maintenance, aged, dry):
    run, changed = dry
    assert maintenance.states(run) == {"maintain": "success"}
    assert maintenance.tries(run) == {"maintain": 1}
    assert not changed
    record = maintenance.returned(run, "maintain")
    assert record["params"] == {"keep_days": 1, "dry_run": True}
    runs, pins = pinned_by_splits(scheduled.store)
    assert scheduled.pipeline_run(full) in runs
    assert record["runs"] == len(runs)
    assert record["tables"].keys() == pins.keys() == aged.tables.keys()
    for name, table in record["tables"].items():
        assert (table["versions_pinned"], table["pins_lost"]) == (len(pins[name]), 0)
        assert table["versions_dropped"] == len(aged.superseded(name) - pins[name]) > 0
        assert table["fragments_removed"] > table["fragments_added"] == 1


def test_maintenance_drops_what_the_dry_one_counted_and_no_version_that_a_split_pins(
    scheduled, maintenance, aged, dry, maintained
):
    assert maintenance.states(maintained) == {"maintain": "success"}
    assert maintenance.tries(maintained) == {"maintain": 1}
    record, counted = (maintenance.returned(run, "maintain") for run in (maintained, dry[0]))
    assert record["params"] == {"keep_days": 1, "dry_run": False}
    assert record["runs"] == counted["runs"]
    _, pins = pinned_by_splits(scheduled.store)
    for name, table in aged.tables.items():
        done = record["tables"][name]
        assert done.pop("bytes_freed") > 0
        assert done == {field: counted["tables"][name][field] for field in done}
        left = aged.versions(name)
        assert pins[name] <= left
        assert aged.superseded(name) & left == pins[name] - {aged.newest(name)}
        assert {tag["version"] for tag in table.open(None).tags.list().values()} == pins[name]
        for version in pins[name]:
            assert aged.content(name, version) == aged.before[name][version] != {}
            assert aged.content(name, None) == aged.before[name][aged.newest(name)]


def test_maintenance_that_would_keep_nothing_of_today_is_refused(maintenance):
    with pytest.raises(StackError, match="got HTTP 400 .*Invalid input for param keep_days: .*0 is less than .* of 1"):
        maintenance.client.trigger(MAINTENANCE, {"keep_days": 0})
