"""From two studies to one preset file, and from there to a run that trains with it."""

import json

import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.contracts import TuningParams
from clipfarm_tasks.errors import DataError, MissingObjectError
from clipfarm_tasks.families import PRESETS, Family, Horizon, Strategy
from clipfarm_tasks.steps.context import load_config
from clipfarm_tasks.steps.publish_preset import publish_preset
from clipfarm_tasks.steps.run_trials import run_trials
from clipfarm_tasks.tuning.preset_file import parse_presets

PAIR = (Strategy.CONCAT, Horizon.D7)
PARAMS = TuningParams(trials=8)
TUNED = (Family.GBDT, Family.CONCAT_MLP)


@pytest.fixture
def tuned(upstream, run):
    """The run, with a study of each of two families, published as version 1."""
    upstream = type(upstream)(run.store, videos=120)
    upstream.upload()
    run.resolve(models=[*TUNED, "ridge"])
    run.splits()
    for family in TUNED:
        run_trials(run.store, run.settings, PARAMS, run.id, family)
    record = publish_preset(run.store, run.settings, PARAMS, run.id, [*TUNED, *TUNED])
    assert (record.version, record.key) == (1, keys.presets(1))
    assert record.differences.keys() == {*TUNED}
    return run


@pytest.fixture
def presets(tuned):
    return parse_presets(tuned.store.get(keys.presets(1)), "version 1")


def test_the_file_says_what_its_figures_belong_to(tuned, presets):
    assert presets.tuned_on.run_id == tuned.id
    assert presets.tuned_on.config_digest == tuned.record.digest
    assert (presets.tuned_on.strategy, presets.tuned_on.horizon) == PAIR
    assert presets.presets.keys() == {*TUNED}
    for found in presets.presets.values():
        assert found.difference == found.val_rmse_log - found.val_rmse_log_of_code < 0
        assert (found.trials, found.n_val) == (8, 18)


def test_a_repeated_attempt_publishes_nothing_new(tuned):
    assert publish_preset(tuned.store, tuned.settings, PARAMS, tuned.id, TUNED).version == 1
    assert [info.key for info in tuned.store.list(keys.PRESETS)] == [keys.presets(1)]


def test_a_family_without_anything_better_is_left_out(tuned):
    only = TuningParams(trials=1)
    run_trials(tuned.store, tuned.settings, only, tuned.id, Family.RIDGE)
    record = publish_preset(tuned.store, tuned.settings, only, tuned.id, [Family.RIDGE])
    assert record.model_dump() == {"version": None, "key": None, "differences": {}}
    with_ridge = publish_preset(tuned.store, tuned.settings, PARAMS, tuned.id, [*TUNED, Family.RIDGE])
    assert with_ridge.version == 1


def hyperparams(run, family):
    config = run.json(f"{keys.job_snapshot(run.id, family, *PAIR)}config_used.json")
    return config, config["hyperparams"][family]


def test_a_run_that_names_the_version_pins_it_and_trains_with_its_values(tuned, presets):
    tuned.resolve("with-presets", models=[*TUNED, "ridge"], preset_version=1)
    pinned = tuned.context.config.inputs.presets
    assert (pinned.key, pinned.etag) == (keys.presets(1), tuned.store.head(keys.presets(1)).etag)
    kept = tuned.context.config.kept(pinned)
    assert kept.key.startswith(keys.run_prefix("with-presets"))
    assert tuned.store.get(kept.key) == tuned.store.get(keys.presets(1))
    tuned.store.delete([keys.presets(1)])  # what it has pinned, it has kept
    tuned.jobs()
    for family in (*TUNED, Family.RIDGE):
        config, used = hyperparams(tuned, family)
        assert config["params"]["preset_version"] == 1
        assert config["inputs"]["presets"]["key"] == keys.presets(1)
        expected = presets.presets[family].values if family in TUNED else {}
        for name, value in expected.items():
            outer, _, inner = name.partition(".")
            found = used[outer][inner] if inner else used[outer]
            assert found == value or name == "batch_size"  # of few rows a step takes fewer
    assert hyperparams(tuned, Family.RIDGE)[1]["categories"]["min_frequency"] == 20


def test_what_the_trial_predicted_for_val_is_what_the_run_predicts(tuned, presets):
    tuned.resolve("with-presets", models=[*TUNED], preset_version=1)
    tuned.jobs()
    for family in TUNED:
        metrics = tuned.json(f"{keys.job_snapshot(tuned.id, family, *PAIR)}metrics_summary.json")
        assert metrics["models"][family]["val"]["rmse_log"] == pytest.approx(presets.presets[family].val_rmse_log)


def test_without_a_version_nothing_changes(tuned):
    tuned.step("train", *PAIR, Family.GBDT)
    config, used = hyperparams(tuned, Family.GBDT)
    assert "presets" not in config["inputs"]
    assert config["params"]["preset_version"] is None
    assert used["learning_rate"] == PRESETS[Family.GBDT].hyperparams.learning_rate
    resolved = load_config(tuned.store, tuned.id)
    assert resolved.inputs.presets is None
    assert keys.presets(1) not in resolved.copies


def test_the_version_is_part_of_the_digest(tuned):
    digests = {tuned.resolve(f"run-{version}", preset_version=version).digest for version in (None, 1)}
    assert len(digests) == 2


def test_a_version_that_does_not_exist_is_refused_and_the_others_are_named(tuned):
    with pytest.raises(MissingObjectError, match=r"expected preset_version to be one of 1, got 2: .*version=2/presets"):
        tuned.resolve("r", preset_version=2)
    assert tuned.store.list(keys.run_prefix("r")) == []


@pytest.mark.parametrize(
    ("presets", "problem"),
    [
        ({"forest": {}}, "expected a valid PresetFile, got presets.forest"),
        ({"gbdt": {"max_depth": 99}}, "max_depth = 99, which is not from 3 to 10, in s3://.*version=2/presets.json"),
    ],
)
def test_a_file_that_this_code_does_not_allow_is_refused(tuned, presets, problem):
    document = json.loads(tuned.store.get(keys.presets(1)))
    found = document["presets"]["gbdt"]
    content = {name: found | {"values": values} for name, values in presets.items()}
    tuned.store.put(keys.presets(2), json.dumps(document | {"version": 2, "presets": content}).encode())
    with pytest.raises(DataError, match=problem):
        tuned.resolve("r", preset_version=2)
    assert tuned.store.list(keys.run_prefix("r")) == []
