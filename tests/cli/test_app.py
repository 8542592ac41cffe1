"""Options and their help, exit codes, and what a person reads when something is wrong."""

import re

import pytest
from typer.testing import CliRunner

from clipfarm_tasks import keys
from clipfarm_tasks.cli.app import app
from clipfarm_tasks.config import RunParams

WIDE = {"COLUMNS": "400", "TERMINAL_WIDTH": "400"}
# By option of `run`: (unit or meaning that its help must give, default as shown).
RUN_OPTIONS = {
    "--strategy": ("repeatable", "concat, sum_pool, max_pool"),
    "--horizon": ("in days", "7, 30"),
    "--model": ("repeatable", "concat_mlp, gated_fusion_mlp, ridge, gbdt"),
    "--run-id": ("continue it", "the UTC time"),
    "--split-strategy": ("chronological", "random"),
    "--seed": ("Seed", "42"),
    "--train-ratio": ("0 to 1", "0.7"),
    "--val-ratio": ("0 to 1", "0.15"),
    "--test-ratio": ("0 to 1", "0.15"),
    "--rank-metric": ("leaderboard", "val_rmse_log"),
    "--max-epochs": ("epochs", "40"),
    "--patience": ("Epochs", "6"),
    "--projector-dim": ("columns", "128"),
    "--feature-set": ("log1p", "v3"),
    "--refit": ("train and val", "refit"),
    "--device": ("CUDA", "auto"),
    "--max-quarantined-fraction": ("0 to 1", "0.05"),
    "--jobs": ("Tasks running at the same time", "one per core"),
}


def help_of(*arguments):
    result = CliRunner().invoke(app, [*arguments, "--help"], env=WIDE)
    assert result.exit_code == 0, result.output
    return re.sub(r"\x1b\[[0-9;]*m", "", result.output)


def option_help(text, option):
    """The lines of one option, joined."""
    found = re.search(rf"{option}\b(.*?)(?=\n[│|\s*]*--|\n╰)", text, re.DOTALL)
    assert found, (option, text)
    return " ".join(found[1].replace("│", " ").split())


@pytest.mark.parametrize("option", RUN_OPTIONS)
def test_help_of_run_explains_every_option(option):
    meaning, default = RUN_OPTIONS[option]
    text = option_help(help_of("run"), option)
    assert meaning in text
    assert re.search(rf"default: (\[)?{re.escape(default)}", text, re.IGNORECASE), text


def test_every_run_parameter_has_an_option():
    text = help_of("run")
    named = {
        "strategies": "--strategy",
        "horizons": "--horizon",
        "models": "--model",
        "feature_set_version": "--feature-set",
        "extra_features": "--extra-feature",
        "exclude_features": "--exclude-feature",
        "slice_limits": "--slice-limit",
    }
    for option in ("--extra-feature", "--exclude-feature", "--slice-limit"):
        assert "repeatable" in option_help(text, option)
    for name in RunParams.model_fields:
        assert named.get(name, f"--{name.replace('_', '-')}") in text


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("step", ["--run-id", "--strategy", "--horizon", "in days", "--model"]),
        ("sample", ["--videos", "2000", "--seed", "--width", "in columns", "768", "--force"]),
        ("show", ["RUN_ID"]),
        ("rebuild", ["RUN_ID", "--strategy", "--horizon", "in days", "--model", "--output", "compare only"]),
        ("check", ["conditional"]),
        ("maintain", ["--keep-days", "days", "superseded", "30", "--dry-run", "nothing is changed"]),
        ("tune", ["--trials", "--minutes", "--publish", "Trials of a study", "20", "30"]),
    ],
)
def test_help_of_the_other_commands(name, parts):
    text = help_of(name)
    for part in parts:
        assert part.lower() in text.lower()


def test_help_names_all_commands_and_the_settings():
    text = help_of()
    for word in ("run", "step", "sample", "show", "rebuild", "check", "CLIPFARM_BUCKET", "AWS_ENDPOINT_URL"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--horizon", "14"], "expected 7|30 (days), got '14'"),
        (["run", "--strategy", "mean_pool"], "'mean_pool' is not one of"),
        (["run", "--jobs", "0"], "Invalid value for '--jobs'"),
        (["run", "--rank-metric", "foo"], "'foo' is not one of"),
        (["sample", "--videos", "3"], "Invalid value for '--videos'"),
        (["step", "train"], "Missing option '--run-id'"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_is_wrong(arguments, message):
    result = CliRunner().invoke(app, arguments, env=WIDE)
    assert result.exit_code == 2
    assert message in result.output


def test_missing_bucket_is_one_sentence(command):
    for arguments in (
        ["run"],
        ["check"],
        ["show", "x"],
        ["rebuild", "x"],
        ["sample"],
        ["step", "gate", "--run-id", "x"],
    ):
        answer = command(*arguments, CLIPFARM_BUCKET=None)
        assert answer.returncode == 2
        assert answer.stderr.strip() == "ConfigError: environment: expected CLIPFARM_BUCKET, got nothing: it is not set"
        assert answer.stdout == ""


def test_every_wrong_parameter_is_in_one_message(command, sample_bucket):
    answer = command(
        "run", "--seed", "-1", "--max-epochs", "0", "--train-ratio", "0.9", "--run-label", "a/b", "--patience", "0",
        CLIPFARM_BUCKET=sample_bucket,
    )  # fmt: skip
    assert answer.returncode == 2
    assert "ConfigError: run parameters: 5 problem(s)" in answer.stderr
    for part in ("seed", "max_epochs", "patience", "run_label", "must be 1, got 0.9 + 0.15 + 0.15"):
        assert part in answer.stderr
    assert "Traceback" not in answer.stderr


def test_feature_names_of_repeated_options_reach_the_run(command, sample_bucket):
    answer = command(
        "run", "--extra-feature", "saves", "--extra-feature", "view_count", "--extra-feature", "video_id",
        "--exclude-feature", "title_length", CLIPFARM_BUCKET=sample_bucket,
    )  # fmt: skip
    assert answer.returncode == 2
    assert "extra_features: expected no column that the contract" in answer.stderr
    assert "got 'video_id', 'view_count'" in answer.stderr
    answer = command("run", "--extra-feature", "a", "--exclude-feature", "a", CLIPFARM_BUCKET=sample_bucket)
    assert "exclude_features and extra_features must not share a name, both hold a" in answer.stderr


def test_unknown_run_is_one_sentence(command, sample_bucket):
    for arguments in (["show", "nobody"], ["step", "gate", "--run-id", "nobody"]):
        answer = command(*arguments, CLIPFARM_BUCKET=sample_bucket)
        assert answer.returncode == 2
        assert "MissingObjectError: expected a" in answer.stderr
        assert "'nobody'" in answer.stderr
        assert "Traceback" not in answer.stderr


def test_check_of_a_good_bucket(command, sample_bucket):
    answer = command("check", CLIPFARM_BUCKET=sample_bucket)
    assert answer.returncode == 0, answer.stdout
    assert "conditional write (If-None-Match) is honoured" in answer.stdout
    assert "FAILED" not in answer.stdout


def test_check_of_an_empty_bucket_names_the_input(command, bucket, store):
    answer = command("check", CLIPFARM_BUCKET=bucket.bucket)
    assert answer.returncode == 2
    assert answer.stdout.count("FAILED") == 4
    assert f"expected upstream's object at s3://{bucket.bucket}/{keys.METADATA_CSV}, got none" in answer.stdout
    assert store.list("") == []


def test_check_of_a_wrong_bucket_or_key_pair_gives_advice(command, bucket):
    for environment, advice in (
        ({"CLIPFARM_BUCKET": "no-such-bucket"}, "expected bucket no-such-bucket to exist"),
        ({"CLIPFARM_BUCKET": bucket.bucket, "AWS_SECRET_ACCESS_KEY": "wrong"}, "check the key pair"),
    ):
        answer = command("check", **environment)
        assert answer.returncode == 2
        assert advice in answer.stdout
        assert answer.stdout.count("FAILED") == 1


def test_sample_refuses_a_bucket_with_metadata(command, bucket, store):
    first = command("sample", "--videos", "20", "--width", "4", CLIPFARM_BUCKET=bucket.bucket)
    assert first.returncode == 0, first.stderr
    assert re.fullmatch(rf"20 videos, \d+ objects, \d+ bytes in s3://{bucket.bucket}\n", first.stdout)
    etag = store.head(keys.METADATA_CSV).etag
    refused = command("sample", "--videos", "30", "--width", "4", CLIPFARM_BUCKET=bucket.bucket)
    assert refused.returncode == 2
    assert "ConfigError: expected a bucket without metadata, got an object at s3://" in refused.stderr
    assert store.head(keys.METADATA_CSV).etag == etag
    forced = command("sample", "--videos", "30", "--width", "4", "--force", CLIPFARM_BUCKET=bucket.bucket)
    assert forced.returncode == 0, forced.stderr
    assert store.head(keys.METADATA_CSV).etag != etag
