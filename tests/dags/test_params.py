"""The trigger form, as Airflow sees it."""

import jsonschema
import pytest

from clipfarm_tasks.config import RunParams
from clipfarm_tasks.deployment.form import form_fields, from_form


@pytest.fixture
def params(dag):
    return {name: dag.params.get_param(name) for name in dag.params}


def test_one_param_per_run_parameter(params):
    assert list(params) == list(RunParams.model_fields)


def test_every_param_says_what_it_is(params):
    for name, param in params.items():
        assert param.description, name
        assert param.schema["type"] in (
            "array",
            "boolean",
            "string",
            "integer",
            "number",
            ["string", "null"],
            ["array", "null"],
            ["integer", "null"],
        ), name
        assert "$ref" not in str(param.schema), name


def test_every_default_is_valid_by_its_own_schema(params):
    checked = 0
    for param in params.values():
        jsonschema.Draft202012Validator.check_schema(param.schema)
        jsonschema.validate(param.value, param.schema)
        checked += 1
    assert checked == len(RunParams.model_fields)


def test_form_triggers_with_its_defaults(dag, params):
    assert RunParams.parse(dag.params.validate()) == RunParams()
    # The form disables its Trigger button while a param that may not be null is null or an empty text.
    blocking = [n for n, p in params.items() if p.value in (None, "") and "null" not in p.schema["type"]]
    assert blocking == []


def test_multi_selects_are_drawn_as_such(params):
    selects = {name: param for name, param in params.items() if param.schema["type"] == "array"}
    assert set(selects) == {"strategies", "horizons", "models"}
    for param in selects.values():
        # Conditions of the form: texts only, and a list of examples.
        assert param.schema["items"]["type"] == "string"
        assert param.schema["examples"] == param.schema["items"]["enum"]
    assert selects["strategies"].value == selects["strategies"].schema["examples"]
    assert selects["horizons"].value == selects["horizons"].schema["examples"] == ["7", "30"]
    # All can be chosen, and two are not unless somebody does.
    assert selects["models"].schema["examples"] == [*selects["models"].value, "tabm", "kernel"]


@pytest.mark.parametrize("name", ["extra_features", "exclude_features"])
def test_free_lists_are_drawn_as_one_text_a_line(dag, params, name):
    schema = params[name].schema
    # Conditions of the form: texts only, no examples; null is what it sends once the box was emptied.
    assert (schema["type"], schema["items"]) == (["array", "null"], {"type": "string"})
    assert not {"examples", "enum"} & set(schema)
    chosen = dag.params.__deepcopy__(None)
    chosen.update({name: ["digg_count", ""]})
    assert getattr(RunParams.parse(from_form(chosen.validate())), name) == ("digg_count",)
    chosen.update({name: None})
    assert RunParams.parse(from_form(chosen.validate())) == RunParams()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("extra_features", "digg_count"),
        ("exclude_features", [1]),
        ("strategies", ["concat", "mean_pool"]),
        ("strategies", []),
        ("strategies", None),
        ("horizons", ["14"]),
        ("models", "ridge"),
        ("split_strategy", "shuffled"),
        ("seed", -1),
        ("seed", 2**31),
        ("seed", 1.5),
        ("train_ratio", 0),
        ("test_ratio", 1),
        ("rank_metric", "foo"),
        ("max_epochs", 0),
        ("patience", 1001),
        ("projector_dim", "wide"),
        ("feature_set_version", "v4"),
        ("refit", "maybe"),
        ("device", "tpu"),
        ("max_quarantined_fraction", 1.01),
        ("run_label", "a/b"),
        ("run_label", "x" * 300),
    ],
)
def test_api_server_refuses_to_trigger_with(dag, name, value):
    with pytest.raises(ValueError, match=f"Invalid input for param {name}"):
        dag.params.__deepcopy__(None).update({name: value})


def test_dag_repeats_no_default(dag):
    assert {name: field["default"] for name, field in form_fields().items()} == dag.params.dump()
