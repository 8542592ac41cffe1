"""2,800 real posts through the command line: what the models reach, and that nothing leaks the label."""

import json
import os
import subprocess
import sys

import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.families import DEFAULT_FAMILIES, Family

# Test R2 (log space) of strategy concat, split random, seed 42, v2_log_counts. More than the ceiling means a leak.
FLOOR = {Family.RIDGE: 0.40, Family.CONCAT_MLP: 0.45, Family.GATED_FUSION_MLP: 0.42, Family.GBDT: 0.50}
CEILING = 0.70
LEAKING = {"horizon_view_count", "view_count", "like_count", "comment_count", "age_days", "virality_score"}

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def data(repository):
    folder = repository.parent / "shared" / "data"
    if not (folder / "short_videos" / "vectors.npz").exists():
        pytest.skip(f"needs the real data set, got none in {folder}")
    return folder


@pytest.fixture(scope="module")
def run(data, repository, s3_server):
    """(finished process, function that reads a JSON object) of a run over the real set."""
    bucket = "real-short-videos"
    env = os.environ | s3_server.environment() | {"CLIPFARM_BUCKET": bucket, "PYTHONPATH": str(repository)}
    loader = [sys.executable, data / "load_short_videos.py", "--bucket", bucket, "--endpoint", s3_server.endpoint_url]
    subprocess.run(loader, env=env, check=True, timeout=1800, capture_output=True)
    command = [
        sys.executable,
        "-m",
        "clipfarm_tasks",
        "run",
        "--run-id",
        "real",
        "--horizon",
        "7",
        "--strategy",
        "concat",
    ]
    process = subprocess.run(command, env=env, check=False, timeout=1800, capture_output=True, text=True)

    def read(key):
        return json.load(s3_server.client().get_object(Bucket=bucket, Key=key)["Body"])

    return process, read


@pytest.fixture(scope="module")
def rows(run):
    process, read = run
    assert process.returncode == 0, process.stdout + process.stderr
    return {row["model"]: row for row in read(f"{keys.comparison('real')}metrics_comparison.json")["rows"]}


def test_every_family_reaches_its_floor_and_none_the_ceiling(rows):
    reached = {family: rows[family]["test_r2_log"] for family in DEFAULT_FAMILIES}
    assert {family: r2 for family, r2 in reached.items() if not FLOOR[family] <= r2 <= CEILING} == {}, reached


def test_all_videos_are_used_and_no_column_leaks(rows, run):
    _, read = run
    folder = rows[Family.GBDT]["metrics_key"].rsplit("/", 1)[0]
    summary, config = read(f"{folder}/data_summary.json"), read(f"{folder}/config_used.json")
    assert summary["n_total"] == 2800
    assert set(config["excluded_leakage"]) >= LEAKING
    assert not {*config["numeric_cols"], *config["categorical_cols"]} & LEAKING


def test_no_object_is_fetched_twice_to_assemble_the_vectors(rows, run):
    _, read = run
    tasks = ("reconstruct_fused_concat", "reconstruct_modalities")
    fused, modalities = (read(keys.run_record("real", task)) for task in tasks)
    assert fused["rows"] == modalities["rows"]
    assert fused["throughput"]["objects"] < 10  # shards of 512 rows
    assert modalities["throughput"]["objects"] <= 3 * modalities["rows"]
