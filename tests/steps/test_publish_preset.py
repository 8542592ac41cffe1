"""From two studies to one preset file, and from there to a run that trains with it."""

import json
import uuid

import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.config import Settings
from clipfarm_tasks.contracts import TuningParams
from clipfarm_tasks.errors import DataError, MissingObjectError
from clipfarm_tasks.families import PRESETS, Family, Horizon, Strategy
from clipfarm_tasks.steps.context import load_config
from clipfarm_tasks.steps.publish_preset import publish_preset
from clipfarm_tasks.steps.run_trials import run_trials
from clipfarm_tasks.storage import open_store
from clipfarm_tasks.tuning.preset_file import parse_presets
from tests.steps.conftest import Run, Upstream

PAIR = (Strategy.CONCAT, Horizon.D7)
PARAMS = TuningParams(trials=8)
TUNED = (Family.GBDT, Family.CONCAT_MLP)


@pytest.fixture(scope="module")
def tuned(s3_server, s3_session):
    """A run with a study of each of two families, published as version 1. Tests leave version 1 and no other."""
    name = f"tuned-{uuid.uuid4().hex[:12]}"
    s3_server.client().create_bucket(Bucket=name)
    settings = Settings.from_environment(s3_server.environment() | {"CLIPFARM_BUCKET": name})
    store = open_store(settings, s3_session)
    Upstream(store, videos=120).upload()
    run = Run(store, settings)
    run.resolve(models=[*TUNED, "ridge"])
    run.splits()
    for family in TUNED:
        run_trials(store, settings, PARAMS, run.id, family)
    record = publish_preset(store, settings, PARAMS, run.id, [*TUNED, *TUNED])
    assert (record.version, record.key) == (1, keys.presets(1))
    assert record.differences.keys() == {*TUNED}
    yield run
    s3_server.client().delete_bucket(Bucket=name)


@pytest.fixture
def run(tuned):
    """Another run over the same bucket, to be resolved."""
    return Run(tuned.store, tuned.settings)


@pytest.fixture
def files(tuned):
    """Put a preset file of another version for this test."""
    put = []

    def write(version, document):
        put.append(keys.presets(version))
        tuned.store.put(put[-1], json.dumps(document).encode())

    yield write
    tuned.store.delete(put)


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
    assert record.model_dump() == {"version": None, "key": None, "differences": {}, "unknown": ()}
    with_ridge = publish_preset(tuned.store, tuned.settings, PARAMS, tuned.id, [*TUNED, Family.RIDGE])
    assert with_ridge.version == 1
    # What is not known of one family loses nothing that was found for the others.
    with_unknown = publish_preset(tuned.store, tuned.settings, PARAMS, tuned.id, [*TUNED, Family.KERNEL])
    assert (with_unknown.version, with_unknown.unknown) == (1, (Family.KERNEL,))
    with pytest.raises(DataError, match="expected the study .*kernel.*, got none"):
        publish_preset(tuned.store, tuned.settings, PARAMS, tuned.id, [Family.KERNEL])


def hyperparams(run, family):
    config = run.json(f"{keys.job_snapshot(run.id, family, *PAIR)}config_used.json")
    return config, config["hyperparams"][family]


def test_a_run_that_names_the_version_pins_it_and_trains_with_its_values(run, presets):
    run.resolve("with-presets", models=[*TUNED, "ridge"], preset_version=1)
    pinned = run.context.config.inputs.presets
    assert (pinned.key, pinned.etag) == (keys.presets(1), run.store.head(keys.presets(1)).etag)
    kept, body = run.context.config.kept(pinned), run.store.get(keys.presets(1))
    assert kept.key.startswith(keys.run_prefix("with-presets"))
    run.splits()
    run.store.delete([keys.presets(1)])  # what it has pinned, it has kept
    try:
        for family in (*TUNED, Family.RIDGE):
            run.step("train", *PAIR, family)
    finally:
        run.store.put(keys.presets(1), body)
    assert run.store.get(kept.key) == body
    for family in (*TUNED, Family.RIDGE):
        config, used = hyperparams(run, family)
        assert config["params"]["preset_version"] == 1
        assert config["inputs"]["presets"]["key"] == keys.presets(1)
        expected = presets.presets[family].values if family in TUNED else {"categories.min_frequency": 20}
        for name, value in expected.items():
            outer, _, inner = name.partition(".")
            assert (used[outer][inner] if inner else used[outer]) == value
    # The val part has scored the trial, and scores the run: with the same values it tells the same.
    for family in TUNED:
        metrics = run.json(f"{keys.job_snapshot(run.id, family, *PAIR)}metrics_summary.json")
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


def test_the_version_is_part_of_the_digest(run, tuned):
    digests = {run.resolve(f"run-{version}", preset_version=version).digest for version in (None, 1)}
    assert len(digests) == 2


def test_a_version_that_does_not_exist_is_refused_and_the_others_are_named(run):
    with pytest.raises(MissingObjectError, match=r"expected preset_version to be one of 1, got 2: .*version=2/presets"):
        run.resolve("r", preset_version=2)
    assert run.store.list(keys.run_prefix("r")) == []


@pytest.mark.parametrize(
    ("presets", "problem"),
    [
        ({"forest": {}}, "expected a valid PresetFile, got presets.forest"),
        ({"gbdt": {"max_depth": 99}}, "max_depth = 99, which is not from 3 to 10, in s3://.*version=2/presets.json"),
    ],
)
def test_a_file_that_this_code_does_not_allow_is_refused(run, files, presets, problem):
    document = json.loads(run.store.get(keys.presets(1)))
    found = document["presets"]["gbdt"]
    content = {name: found | {"values": values} for name, values in presets.items()}
    files(2, document | {"version": 2, "presets": content})
    with pytest.raises(DataError, match=problem):
        run.resolve("r", preset_version=2)
    assert run.store.list(keys.run_prefix("r")) == []
