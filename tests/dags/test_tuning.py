"""The weekly tuning DAG."""

import pathlib
import sys
import types

import pytest

from clipfarm_tasks.contracts import TuningParams
from clipfarm_tasks.families import Family
from tests.dags.fresh_process import answer_of

PLAYED = pathlib.Path(__file__).parent / "tuning_scenario.py"


@pytest.fixture
def tuning(dags):
    return dags["clipfarm_tuning"]


def test_saturdays_at_noon_and_created_paused(tuning):
    assert tuning.timetable.expression == "0 12 * * 6"
    assert tuning.is_paused_upon_creation is True
    assert tuning.tags == {"clipfarm", "tuning"}


def test_trials_are_mapped_between_the_plan_and_the_preset(tuning):
    assert {(up, task.task_id) for task in tuning.tasks for up in task.upstream_task_ids} == {
        ("plan_study", "run_trials"),
        ("run_trials", "publish_preset"),
        ("plan_study", "publish_preset"),
    }
    assert tuning.get_task("run_trials").is_mapped
    assert {task.trigger_rule for task in tuning.tasks} == {"all_success"}


def test_params_are_those_of_the_model(tuning):
    assert TuningParams.parse(tuning.params.validate()) == TuningParams()
    assert list(tuning.params) == list(TuningParams.model_fields)
    assert tuning.params.get_param("models").schema["examples"] == [str(family) for family in Family]


@pytest.mark.parametrize(
    ("name", "value"),
    [("trials", 0), ("minutes", 241), ("minutes", None), ("workers", 5), ("models", ["forest"]), ("horizon", 14)],
)
def test_api_server_refuses_to_trigger_with(tuning, name, value):
    with pytest.raises(ValueError, match=f"Invalid input for param {name}"):
        tuning.params.__deepcopy__(None).update({name: value})


def test_training_goes_first(tuning, dag):
    weights = [task.priority_weight for task in dag.tasks]
    heavy = [tuning.get_task(name) for name in ("run_trials", "publish_preset")]
    assert max(task.priority_weight for task in heavy) < min(weights)
    assert {task.pool for task in heavy} == {"clipfarm_cpu"}
    assert tuning.get_task("plan_study").pool == "default_pool"


@pytest.mark.parametrize(("name", "arguments"), [("plan_study", ()), ("publish_preset", (["a job"],))])
def test_each_task_hands_its_context_to_the_runtime(tuning, monkeypatch, name, arguments):
    body = tuning.get_task(name).python_callable
    monkeypatch.setitem(body.__globals__, "get_current_context", lambda: "the context")
    runtime = types.SimpleNamespace(**{name: lambda context, *given: {"given": (context, *given)}})
    monkeypatch.setitem(sys.modules, "clipfarm_runtime", runtime)
    assert body(*arguments) == {"given": ("the context", *arguments)}


def test_a_real_run_maps_one_task_to_each_worker_of_each_study(root, airflow_environment):
    answer = answer_of(airflow_environment, PLAYED)
    assert answer["state"] == "success"
    jobs = [{"run_id": "r", "family": family} for family in ("gbdt", "ridge", "gbdt", "ridge")]
    first, *trials, last = answer["calls"]
    assert (first, last) == (["plan"], ["publish", jobs])
    assert sorted(trials, key=str) == sorted((["run", job] for job in jobs), key=str)  # in whatever order
    assert answer["labels"] == ["gbdt", "ridge", "gbdt", "ridge"]
