"""``step``: any step of a run by hand, resolve_run included."""

import json

import pytest

from clipfarm_tasks.cli.run_step import run_step
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import Strategy


def test_resolve_run_takes_its_params_as_json(command, sample_bucket):
    params = '{"models": ["ridge"], "horizons": ["7"], "seed": 3}'
    done = command("step", "resolve_run", "--run-id", "by-hand", "--params", params, CLIPFARM_BUCKET=sample_bucket)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["run_id"], record["models"], record["horizons"]) == ("by-hand", ["ridge"], [7])
    for step in (["scan_metadata"], ["filter_metadata", "--horizon", "7"]):
        done = command("step", *step, "--run-id", "by-hand", CLIPFARM_BUCKET=sample_bucket)
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] > 0


@pytest.mark.parametrize(
    ("name", "strategy", "params", "message"),
    [
        ("resolve_run", None, "{", "--params: expected a JSON object, got '{'"),
        ("resolve_run", None, "[1]", r"--params: expected a JSON object, got '\[1\]'"),
        ("resolve_run", Strategy.CONCAT, "{}", "expected selections inside --params, got --strategy"),
        ("gate", None, '{"seed": 1}', "step gate: expected --params only for resolve_run, got"),
    ],
)
def test_what_it_does_not_take_is_refused(monkeypatch, bucket, s3_server, name, strategy, params, message):
    for variable, value in (s3_server.environment() | {"CLIPFARM_BUCKET": bucket.bucket}).items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=message):
        run_step(name, "r", strategy, None, None, params)
