"""Run parameters, the digest of a run, settings."""

import hashlib
import itertools
import json
import math

import pytest
from pydantic import ValidationError

from clipfarm_tasks import config
from clipfarm_tasks.config import RunParams, Settings
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import DEFAULT_FAMILIES, Device, Horizon, Strategy
from clipfarm_tasks.run_config import CodeVersion, PinnedObject, RunConfig, RunInputs

CODE = CodeVersion(package="0.1.0", git_sha="abc", source_sha256="abc")


def inputs(etag="e1"):
    pinned = PinnedObject(key="metadata.csv", etag=etag, size=10)
    return RunInputs(metadata=pinned, manifests={Strategy.CONCAT: pinned}, schemas={Strategy.CONCAT: None})


def test_defaults_are_those_of_the_architecture():
    params = RunParams()
    assert params.strategies == tuple(Strategy)
    assert params.horizons == (Horizon.D7, Horizon.D30)
    assert params.models == DEFAULT_FAMILIES
    assert (params.train_ratio, params.val_ratio, params.test_ratio) == (0.70, 0.15, 0.15)
    assert (params.max_epochs, params.patience, params.projector_dim) == (40, 6, 128)
    assert params.feature_set_version == "v3"
    assert params.max_quarantined_fraction == 0.05
    assert params.device is Device.AUTO


@pytest.mark.parametrize("model", [RunParams, RunConfig, RunInputs, PinnedObject, CodeVersion, Settings])
def test_every_field_says_what_it_is(model):
    assert model.model_fields
    assert all(field.description for field in model.model_fields.values())


@pytest.mark.parametrize("given", [["7", "30"], [7, 30], (30, 7), ["30", "7", "7"], [7, "30"]])
def test_horizons_as_texts_or_numbers_in_any_order(given):
    assert RunParams.parse({"horizons": given}).horizons == (Horizon.D7, Horizon.D30)


def test_order_and_repetition_of_a_selection_change_nothing():
    for models in itertools.permutations(f.value for f in DEFAULT_FAMILIES):
        assert RunParams.parse({"models": [*models, models[0]]}) == RunParams()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"strategies": ["mean_pool"]}, "strategies.0: .*'concat', 'sum_pool' or 'max_pool', got 'mean_pool'"),
        ({"strategies": []}, r"strategies: .*at least 1 item.*got \[\]"),
        ({"horizons": [14]}, "horizons.0: .*7 or 30, got 14"),
        ({"horizons": "7"}, "horizons: .*got '7'"),
        ({"models": ["lgbm"]}, "models.0: .*got 'lgbm'"),
        ({"seed": -1}, "seed: .*greater than or equal to 0, got -1"),
        ({"seed": 2**31}, "seed: .*got 2147483648"),
        ({"rank_metric": "foo"}, "rank_metric: .*'val_rmse_log'.*got 'foo'"),
        ({"rank_metric": "rmse_log"}, "rank_metric: .*got 'rmse_log'"),
        ({"max_epochs": 0}, "max_epochs: .*got 0"),
        ({"patience": 0}, "patience: .*got 0"),
        ({"projector_dim": 0}, "projector_dim: .*got 0"),
        ({"run_label": "a/b"}, "run_label: .*got 'a/b'"),
        ({"run_label": "x" * 300}, "run_label: .*got 'xxx"),
        ({"run_label": "a\n"}, r"run_label: .*got 'a\\n'"),
        ({"run_label": None}, "run_label: .*got None"),
        ({"train_ratio": 0}, "train_ratio: .*greater than 0, got 0"),
        ({"train_ratio": math.nan}, "train_ratio: .*got nan"),
        ({"max_quarantined_fraction": 1.1}, "max_quarantined_fraction: .*got 1.1"),
        ({"max_quarantined_fraction": math.nan}, "max_quarantined_fraction: .*got nan"),
        ({"strategie": ["concat"]}, r"strategie: Extra inputs are not permitted, got \['concat'\]"),
        ({"extra_features": "saves"}, "extra_features: .*got 'saves'"),
        (
            {"extra_features": ["a", "b"], "exclude_features": ["b", "c"]},
            r"exclude_features and extra_features must not share a name, both hold b, got \['b', 'c'\]",
        ),
        (
            {"slice_limits": ["hour=noon:rmse_log<=2", "creator=seen:rmse_log<=2", "x"]},
            r"slice_limits: expected a slice of hour .*'noon' in 'hour=noon:rmse_log<=2'; expected <dim.*, got 'x'",
        ),
        ({"train_ratio": 0.8}, r"train_ratio \+ val_ratio \+ test_ratio must be 1, got 0.8 \+ 0.15 \+ 0.15 = 1.1"),
    ],
)
def test_refused_with_rule_and_value(values, problem):
    with pytest.raises(ConfigError, match=problem) as caught:
        RunParams.parse(values)
    assert "run parameters: 1 problem(s)" in str(caught.value)


def test_all_problems_in_one_message():
    values = {
        "strategies": ["concat", "nope"],
        "horizons": ["14"],
        "seed": -1,
        "rank_metric": "foo",
        "run_label": "a/b",
        "train_ratio": 0.9,
        "surprise": 1,
    }
    with pytest.raises(ConfigError) as caught:
        RunParams.parse(values)
    message = str(caught.value)
    assert "7 problem(s)" in message
    assert message.count("\n  - ") == 7
    for name in ("strategies.1", "horizons.0", "seed", "rank_metric", "run_label", "surprise", "must be 1"):
        assert name in message


@pytest.mark.parametrize("ratios", [(0.7, 0.15, 0.15), (0.1, 0.2, 0.7), (1 / 3, 1 / 3, 1 / 3)])
def test_ratios_that_sum_to_one_up_to_rounding(ratios):
    RunParams.parse(dict(zip(("train_ratio", "val_ratio", "test_ratio"), ratios, strict=True)))


def test_order_repetition_and_blanks_of_feature_names_change_nothing():
    params = RunParams.parse({"extra_features": ["b", " a", "", "b "], "exclude_features": ["Unnamed: 0"]})
    assert (params.extra_features, params.exclude_features) == (("a", "b"), ("Unnamed: 0",))


def test_order_repetition_and_spelling_of_limits_change_nothing():
    params = RunParams.parse(
        {"slice_limits": ["query=a:rmse_log<=2", "", "hour=00-05:r2_log>=0", " query=a:rmse_log<=2.0"]}
    )
    assert params.slice_limits == ("hour=00-05:r2_log>=0.0", "query=a:rmse_log<=2.0")


def test_a_name_in_both_feature_lists_hides_no_other_problem():
    values = {"extra_features": ["a"], "exclude_features": ["a"], "train_ratio": 0.9}
    with pytest.raises(ConfigError, match=r"(?s)2 problem\(s\).*both hold a.*must be 1"):
        RunParams.parse(values)


def test_immutable():
    with pytest.raises(ValidationError, match="frozen"):
        RunParams().seed = 1


# The digest.


def test_digest_is_sha256_of_canonical_json():
    params = RunParams()
    content = {
        "params": json.loads(params.model_dump_json()),
        "inputs": json.loads(inputs().model_dump_json()),
        "source": CODE.source_sha256,
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert RunConfig.digest_of(params, inputs(), CODE) == hashlib.sha256(canonical.encode()).hexdigest()


def test_digest_ignores_the_order_of_a_selection_and_follows_everything_else():
    same = RunConfig.digest_of(RunParams(), inputs(), CODE)
    shuffled = RunParams.parse({"strategies": ["max_pool", "concat", "sum_pool"], "horizons": ["30", "7"]})
    assert RunConfig.digest_of(shuffled, inputs(), CODE) == same
    others = {
        RunConfig.digest_of(RunParams(seed=1), inputs(), CODE),
        RunConfig.digest_of(RunParams(strategies=(Strategy.CONCAT,)), inputs(), CODE),
        RunConfig.digest_of(RunParams(), inputs("e2"), CODE),
        RunConfig.digest_of(RunParams(preset_version=1), inputs(), CODE),
        RunConfig.digest_of(RunParams(), inputs().model_copy(update={"presets": inputs().metadata}), CODE),
        RunConfig.digest_of(RunParams(), inputs(), CODE.model_copy(update={"source_sha256": "def"})),
    }
    assert len(others | {same}) == 7
    # The same source from another branch, image or release is the same code.
    assert RunConfig.digest_of(RunParams(), inputs(), CODE.model_copy(update={"git_sha": "def"})) == same


def test_config_survives_json():
    run = RunConfig(
        run_id="r",
        digest="d",
        params=RunParams(),
        inputs=inputs(),
        code=CODE,
        resolved_at="2026-03-01T00:00:01Z",
        as_of="2026-03-01T00:00:00Z",
        source_run_id="manual__1",
    )
    assert RunConfig.model_validate_json(run.model_dump_json()) == run


# Settings.


def test_settings_from_the_usual_variables():
    environ = {
        "CLIPFARM_BUCKET": "b",
        "AWS_ENDPOINT_URL": "http://localhost:1",
        "AWS_REGION": "eu-west-3",
        "AWS_DEFAULT_REGION": "us-west-2",
        "CLIPFARM_TRAIN_THREADS": "2",
        "CLIPFARM_S3_TIMEOUT": "1.5",
        "CLIPFARM_S3_RETRY_TIMEOUT": "0",
        "CLIPFARM_S3_CONCURRENCY": "8",
        "HOME": "/root",
    }
    assert Settings.from_environment(environ) == Settings(
        bucket="b",
        endpoint_url="http://localhost:1",
        region="eu-west-3",
        train_threads=2,
        request_timeout_s=1.5,
        retry_timeout_s=0,
        concurrency=8,
    )


@pytest.mark.parametrize(
    ("environ", "region"),
    [({}, "us-east-1"), ({"AWS_DEFAULT_REGION": "us-west-2"}, "us-west-2"), ({"AWS_REGION": ""}, "us-east-1")],
)
def test_region_falls_back(environ, region):
    assert Settings.from_environment({"CLIPFARM_BUCKET": "b"} | environ).region == region


@pytest.mark.parametrize("environ", [{}, {"CLIPFARM_BUCKET": ""}])
def test_a_missing_bucket_names_the_variable(environ):
    with pytest.raises(ConfigError, match="environment: expected CLIPFARM_BUCKET, got nothing: it is not set"):
        Settings.from_environment(environ)


def test_every_malformed_variable_is_named():
    environ = {"CLIPFARM_BUCKET": "b", "CLIPFARM_TRAIN_THREADS": "many", "CLIPFARM_S3_TIMEOUT": "-1"}
    with pytest.raises(ConfigError, match=r"CLIPFARM_TRAIN_THREADS: .*got 'many'; CLIPFARM_S3_TIMEOUT: .*got '-1'"):
        Settings.from_environment(environ)


def test_every_setting_names_its_variable():
    assert set(config._VARIABLES) == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        assert config._VARIABLES[name] in field.description


def test_settings_read_the_process_environment(monkeypatch):
    monkeypatch.setenv("CLIPFARM_BUCKET", "from-the-process")
    assert Settings.from_environment().bucket == "from-the-process"


def test_an_endpoint_without_scheme_is_refused_before_any_request():
    environ = {"CLIPFARM_BUCKET": "b", "AWS_ENDPOINT_URL": "127.0.0.1:9000"}
    with pytest.raises(ConfigError, match=r"AWS_ENDPOINT_URL: .*got '127.0.0.1:9000'"):
        Settings.from_environment(environ)
