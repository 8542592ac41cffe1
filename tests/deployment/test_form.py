"""The form's fields, compared with the model they come from. What Airflow makes of them is in tests/dags."""

import json

import jsonschema
import pytest

from clipfarm_tasks.config import RunParams
from clipfarm_tasks.contracts import MaintenanceParams
from clipfarm_tasks.deployment.form import form_fields, from_form
from clipfarm_tasks.errors import ConfigError


def test_one_field_per_parameter_with_its_description():
    fields = form_fields()
    assert list(fields) == list(RunParams.model_fields)
    for name, model in RunParams.model_fields.items():
        assert fields[name]["description"] == model.description


def test_defaults_mean_the_model_s_defaults():
    assert RunParams.parse({name: field["default"] for name, field in form_fields().items()}) == RunParams()


def test_fields_are_plain_json_without_references():
    text = json.dumps(form_fields())
    assert "$ref" not in text
    assert '"title"' not in text


def test_a_copy_is_handed_out():
    form_fields()["seed"]["default"] = 0
    assert form_fields()["seed"]["default"] == RunParams().seed


PROBES = {
    "strategies": [["concat"], ["sum_pool", "max_pool"], [], ["mean"], "concat", None],
    "horizons": [["7"], ["30", "7"], [], ["14"], "7", None],
    "models": [["gbdt"], [], ["lgbm"], None],
    "split_strategy": ["chronological", "Random", "", None],
    "seed": [0, 2**31 - 1, 2**31, -1, 1.5, "x", None],
    "rank_metric": ["val_r2_log", "r2_log", "foo", None],
    "max_epochs": [1, 1000, 0, 1001, None],
    "patience": [1, 1000, 0, 1001, None],
    "projector_dim": [1, 2048, 0, 2049, None],
    "feature_set_version": ["v1_training_suite", "v4", None],
    "refit": [True, False, "maybe", None],
    "lead_among_ties": ["best", "cheapest", "dearest", None],
    "temporal_check": [True, False, "maybe", None],
    "device": ["cuda", "tpu", None],
    "max_quarantined_fraction": [0, 1, 0.5, -0.01, 1.01, None],
    "extra_features": [[], ["digg_count"], ["a", ""], "a", [1]],
    "exclude_features": [[], ["title_length"], "a", [1]],
    "max_lost_fraction": [0, 1, 0.5, -0.01, 1.01, None],
    "max_text_loss": [0, 1, 0.5, -0.01, 1.01, None],
    "slice_limits": [[], ["text_present=0:rmse_log<=2.5", ""], "text_present=0:rmse_log<=2.5", [1]],
    "leakage_probes": ["block", "report", "warn", None],
    "max_feature_explains": [0.9, 1, 0, 1.01, None],
    "embargo_days": [0, 7, 3650, -1, 3651, 1.5, None],
    "bags": [1, 20, 0, 21, 1.5, None],
    "preset_version": [None, 1, 0, -1, 1.5, "1a"],
    "run_label": ["", "a.B_c-9", "x" * 64, "x" * 65, "a/b", "a b", "ä"],
    "train_ratio": [0, 1, -0.1, 1.5, None],
    "val_ratio": [0, 1, -0.1, 1.5, None],
    "test_ratio": [0, 1, -0.1, 1.5, None],
}


def test_every_field_is_probed():
    assert set(PROBES) == set(RunParams.model_fields)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in PROBES.items() for value in values])
def test_form_and_model_agree(name, value):
    """What the form lets through the model takes, and the other way round."""
    schema = {key: part for key, part in form_fields()[name].items() if key not in {"default", "description"}}
    try:
        jsonschema.validate(value, schema)
        form = True
    except jsonschema.ValidationError:
        form = False
    try:
        RunParams.parse({name: value})
        model = True
    except ConfigError:
        model = False
    assert form == model


def test_only_an_emptied_optional_text_is_dropped():
    assert from_form({"run_label": None, "seed": None, "nonsense": None}) == {"seed": None, "nonsense": None}
    assert from_form({"run_label": "", "seed": 3}) == {"run_label": "", "seed": 3}
    assert from_form({"extra_features": None, "exclude_features": ["a"]}) == {"exclude_features": ["a"]}


def test_form_of_another_model():
    fields = form_fields(MaintenanceParams)
    assert list(fields) == list(MaintenanceParams.model_fields)
    keep_days = {"type": "integer", "default": 30, "minimum": 1, "maximum": 36_500}
    assert fields["keep_days"].items() >= keep_days.items()
    assert fields["dry_run"].items() >= {"type": "boolean", "default": False}.items()
    for name, field in fields.items():
        assert field["description"] == MaintenanceParams.model_fields[name].description
