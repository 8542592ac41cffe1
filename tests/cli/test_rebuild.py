"""`rebuild` as a person or a scheduled check calls it: what is printed, what is written, what the exit code says."""

import numpy as np
import pytest
from rich.console import Console

from clipfarm_tasks import keys
from clipfarm_tasks.cli.rebuild import rebuilt_table
from clipfarm_tasks.config import Settings
from clipfarm_tasks.families import DEFAULT_FAMILIES, Horizon, Strategy
from clipfarm_tasks.steps.rebuild import Rebuilt, Verdict
from clipfarm_tasks.storage import open_store


@pytest.fixture(scope="module")
def trained(command, sample_bucket):
    """Id of a finished run of one job."""
    answer = command(
        "run", "--run-id", "past", "--strategy", "concat", "--horizon", "7", "--model", "ridge",
        "--jobs", "1", CLIPFARM_BUCKET=sample_bucket,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return "past"


@pytest.fixture
def altered(trained, s3_server, s3_session, sample_bucket):
    """Id of the run while its filtered metadata are not those recorded."""
    settings = Settings.from_environment(s3_server.environment() | {"CLIPFARM_BUCKET": sample_bucket})
    store, key = open_store(settings, s3_session), keys.filtered_metadata(trained, Horizon.D7)
    body = store.get(key)
    store.put(key, body + b" ")
    yield trained
    store.put(key, body)


def test_equal_run_exits_0_and_its_matrices_are_written(trained, command, sample_bucket, tmp_path):
    answer = command("rebuild", trained, "--output", str(tmp_path / "matrices"), CLIPFARM_BUCKET=sample_bucket)
    assert answer.returncode == 0, answer.stderr
    assert "run past: the training data of 1 of 1 jobs equal those recorded" in answer.stdout
    assert ["7", "ridge", "concat", "equal"] in [line.split() for line in answer.stdout.splitlines()]
    assert f"matrices: {tmp_path / 'matrices'}" in answer.stdout
    folder = tmp_path / "matrices" / "concat_7d"
    assert len(np.load(folder / "target.npy")) == len(np.load(folder / "fused.npy")) > 12


def test_run_that_is_not_equal_exits_2_and_says_why(altered, command, sample_bucket, tmp_path):
    answer = command("rebuild", altered, "--output", str(tmp_path / "matrices"), CLIPFARM_BUCKET=sample_bucket)
    assert answer.returncode == 2
    assert "run past: the training data of 0 of 1 jobs equal those recorded" in answer.stdout
    assert "cannot be rebuilt" in answer.stdout
    assert f"in s3://{sample_bucket}/{keys.filtered_metadata(altered, Horizon.D7)}" in answer.stdout
    assert "matrices" not in answer.stdout
    assert "Traceback" not in answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nobody"], "MissingObjectError: expected a resolved run 'nobody'"),
        (["past", "--model", "gbdt"], "ConfigError: expected one of ridge, which run past requests, got gbdt"),
    ],
)
def test_what_cannot_be_asked_for_is_one_sentence(trained, command, sample_bucket, arguments, sentence):
    answer = command("rebuild", *arguments, CLIPFARM_BUCKET=sample_bucket)
    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert answer.stdout == ""


def test_folder_with_content_is_left_alone(trained, command, sample_bucket, tmp_path):
    (tmp_path / "mine").write_text("precious")
    answer = command("rebuild", trained, "--output", str(tmp_path), CLIPFARM_BUCKET=sample_bucket)
    assert answer.returncode == 2
    assert f"ConfigError: expected a new or empty folder for the matrices, got {tmp_path}" in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_table_has_a_line_for_each_job():
    results = [
        Rebuilt(Strategy.CONCAT, Horizon.D7, family, verdict)
        for family, verdict in zip(
            DEFAULT_FAMILIES,
            (Verdict.EQUAL, Verdict.NO_SNAPSHOT, Verdict.TARGET_DIFFERS, Verdict.IMPOSSIBLE),
            strict=True,
        )
    ]
    console = Console(width=80, record=True, force_terminal=False)
    console.print(rebuilt_table(results))
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    for result in results:
        assert f"7 {result.family} concat {result.verdict}" in lines
