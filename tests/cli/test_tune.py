"""``tune``: what it says, and that it goes on with a study and publishes only what it is asked to."""

import pytest
from rich.console import Console

from clipfarm_tasks import keys
from clipfarm_tasks.cli.tune import found_table
from clipfarm_tasks.families import Family
from clipfarm_tasks.tuning.space import values_of_code
from tests.tuning.made_presets import found


def rendered(presets):
    console = Console(width=80, record=True, force_terminal=False)
    console.print(found_table(presets))
    return [line.split() for line in console.export_text().splitlines()]


def test_each_family_has_a_line_and_its_values_that_differ():
    values = values_of_code(Family.GBDT) | {"max_depth": 4}
    lines = rendered({Family.GBDT: found(**values)})
    assert ["gbdt", "1.1000", "1.0000", "-0.1000", "-0.2000", "to", "+0.0000", "20"] in lines
    assert ["max_depth", "6", "4"] in lines
    assert not [line for line in lines if line[:1] == ["learning_rate"]]


def test_without_an_interval_it_is_unknown():
    preset = found(**values_of_code(Family.RIDGE)).model_copy(update={"difference_interval": None})
    assert ["ridge", "1.1000", "1.0000", "-0.1000", "unknown", "20"] in rendered({Family.RIDGE: preset})


@pytest.mark.integration
def test_a_study_is_run_gone_on_with_and_published_and_its_version_can_be_named(command, bucket, store):
    here = {"CLIPFARM_BUCKET": bucket.bucket}
    assert command("sample", "--videos", "120", "--width", "16", **here).returncode == 0
    pair = ("--strategy", "concat", "--horizon", "7")
    resolved = command("run", "--run-id", "r", *pair, "--model", "ridge", "--no-temporal-check", **here)
    assert resolved.returncode == 0, resolved.stderr
    tune = ("tune", "--run-id", "r", *pair, "--model", "gbdt")
    first = command(*tune, "--trials", "2", **here)
    assert first.returncode == 0, first.stderr
    assert "gbdt: 2 complete" in first.stdout
    assert "trial 1: val RMSE " in first.stderr
    assert store.list(keys.PRESETS) == []
    goes_on = command(*tune, "--trials", "24", "--minutes", "60", "--publish", **here)
    assert goes_on.returncode == 0, goes_on.stderr
    assert "gbdt: 24 complete" in goes_on.stdout
    assert f"preset version 1: {store.uri(keys.presets(1))}" in goes_on.stdout
    named = command("step", "resolve_run", "--run-id", "tuned", "--params", '{"preset_version": 1}', **here)
    assert named.returncode == 0, named.stderr
    unknown = command("run", "--run-id", "other", *pair, "--preset-version", "2", **here)
    assert unknown.returncode == 2
    assert "expected preset_version to be one of 1, got 2" in unknown.stderr


@pytest.mark.integration
def test_what_cannot_be_tuned_on_is_one_sentence(command, bucket):
    unknown = command("tune", "--run-id", "nobody", CLIPFARM_BUCKET=bucket.bucket)
    assert unknown.returncode == 2
    assert "MissingObjectError: expected a resolved run 'nobody'" in unknown.stderr
    wrong = command("tune", "--run-id", "nobody", "--trials", "0", CLIPFARM_BUCKET=bucket.bucket)
    assert wrong.returncode == 2
    assert "ConfigError: tuning parameters: trials: " in wrong.stderr
    assert "Traceback" not in unknown.stderr + wrong.stderr
