"""`run` with all 30 jobs, and what is said about a run that went wrong."""

import csv
import io
import re

import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.config import Settings
from clipfarm_tasks.families import DEFAULT_FAMILIES, ENSEMBLE, Horizon, Strategy
from clipfarm_tasks.storage import open_store


@pytest.fixture(scope="module")
def whole(command, sample_bucket):
    return command("run", "--run-id", "whole", "--max-epochs", "2", CLIPFARM_BUCKET=sample_bucket)


@pytest.fixture(scope="module")
def sample_store(s3_server, s3_session, sample_bucket):
    return open_store(
        Settings.from_environment(s3_server.environment() | {"CLIPFARM_BUCKET": sample_bucket}), s3_session
    )


def test_all_jobs_end_well_and_the_leaderboard_is_shown(whole, sample_bucket):
    assert whole.returncode == 0, whole.stderr
    assert "30 jobs finished, 0 missing" in whole.stdout
    rows = [line.split()[:3] for line in whole.stdout.splitlines() if re.match(r"\s*(7|30)\s+(?!jobs)", line)]
    assert sorted(rows) == sorted(
        [str(int(days)), str(model), str(strategy)]
        for days in Horizon
        for model in (*DEFAULT_FAMILIES, ENSEMBLE)
        for strategy in Strategy
    )
    assert f"snapshots: s3://{sample_bucket}/clipfarm/models/snapshots/run_id=whole/" in whole.stdout
    assert "58/58" in whole.stdout
    assert "Traceback" not in whole.stderr


def test_every_job_and_pair_has_its_marker(whole, sample_store):
    listed = [info.key for info in sample_store.list(keys.snapshots_prefix("whole"))]
    assert sum(key.endswith("/_SUCCESS") and "/model=" in key for key in listed) == 30
    assert sum(key.endswith("/_SUCCESS") and "/model=" not in key for key in listed) == 6
    table = csv.DictReader(io.StringIO(sample_store.get(f"{keys.comparison('whole')}metrics_comparison.csv").decode()))
    assert [row["status"] for row in table] == ["ok"] * 30


def test_show_prints_the_same_table(whole, command, sample_bucket):
    shown = command("show", "whole", CLIPFARM_BUCKET=sample_bucket)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip() in whole.stdout


def test_the_same_run_again_keeps_everything(whole, command, sample_bucket, sample_store):
    before = {info.key: info.etag for info in sample_store.list(keys.snapshots_prefix("whole"))}
    again = command(
        "run", "--run-id", "whole", "--max-epochs", "2", "--strategy", "concat", "--strategy", "sum_pool",
        "--strategy", "max_pool", "--jobs", "1", CLIPFARM_BUCKET=sample_bucket,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert {info.key: info.etag for info in sample_store.list(keys.snapshots_prefix("whole"))} == before


def test_other_params_under_the_same_id_are_another_run(whole, command, sample_bucket, sample_store):
    other = command(
        "run", "--run-id", "whole", "--horizon", "7", "--model", "ridge", "--strategy", "concat", "--jobs", "1",
        CLIPFARM_BUCKET=sample_bucket,
    )  # fmt: skip
    assert other.returncode == 0, other.stderr
    run_id = re.search(r"^run (whole-[0-9a-f]{8}), config", other.stdout, re.MULTILINE)[1]
    assert "1 jobs finished, 0 missing" in other.stdout
    assert f"run_id={run_id}/model=ridge/strategy=concat/horizon=7/_SUCCESS" in "\n".join(
        info.key for info in sample_store.list(keys.snapshots_prefix(run_id))
    )


def test_step_prints_the_record_of_a_repeated_step(whole, command, sample_bucket, sample_store):
    answer = command(
        "step", "train", "--run-id", "whole", "--strategy", "concat", "--horizon", "7", "--model", "ridge",
        CLIPFARM_BUCKET=sample_bucket,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    record = sample_store.get(keys.run_record("whole", "concat_7d.train_ridge")).decode()
    assert [line.strip() for line in answer.stdout.splitlines()] == [line.strip() for line in record.splitlines()]
    assert '"reused": true' in answer.stdout
    assert "concat_7d.train_ridge: start, run whole" in answer.stderr
    assert "concat_7d.train_ridge: done in" in answer.stderr


def test_missing_manifest_ends_in_exit_2_with_what_is_finished(command, store, bucket, sample_store):
    copied = {info.key: sample_store.get(info.key) for info in sample_store.list("") if "run_id=" not in info.key}
    store.put_many(
        (key, body)
        for key, body in copied.items()
        if "/vectors/" not in key and key != keys.fused_manifest(Strategy.SUM_POOL)
    )
    answer = command(
        "run", "--run-id", "r", "--strategy", "concat", "--strategy", "sum_pool", "--horizon", "7", "--model", "ridge",
        "--jobs", "1", CLIPFARM_BUCKET=bucket.bucket,
    )  # fmt: skip
    assert answer.returncode == 2
    assert "1 jobs finished, 1 missing" in answer.stdout
    assert (
        f"MissingObjectError: expected the fused manifest of strategy sum_pool at s3://{bucket.bucket}/"
        in answer.stdout
    )
    assert "missing: sum_pool_7d.train_ridge, sum_pool_7d.publish_snapshot" in answer.stdout
    assert "Traceback" not in answer.stdout + answer.stderr
