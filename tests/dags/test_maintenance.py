"""The weekly maintenance DAG."""

import sys
import types

import pytest

from clipfarm_tasks.contracts import MaintenanceParams


@pytest.fixture
def maintenance(dags):
    return dags["clipfarm_maintenance"]


def test_sundays_at_three(maintenance):
    assert maintenance.timetable.expression == "0 3 * * 0"
    assert maintenance.tags == {"clipfarm", "maintenance"}
    assert maintenance.task_ids == ["maintain"]


def test_params_are_those_of_the_model(maintenance):
    assert MaintenanceParams.parse(maintenance.params.validate()) == MaintenanceParams()
    assert list(maintenance.params) == list(MaintenanceParams.model_fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [("keep_days", 0), ("keep_days", 1.5), ("keep_days", None), ("dry_run", "yes"), ("dry_run", None)],
)
def test_api_server_refuses_to_trigger_with(maintenance, name, value):
    with pytest.raises(ValueError, match=f"Invalid input for param {name}"):
        maintenance.params.__deepcopy__(None).update({name: value})


def test_training_goes_first(maintenance, dag):
    weights = [task.priority_weight for task in dag.tasks]
    assert maintenance.get_task("maintain").priority_weight < min(weights)
    assert {str(task.weight_rule) for task in (*maintenance.tasks, *dag.tasks)} == {"absolute"}


def test_the_task_hands_its_context_to_the_runtime(maintenance, monkeypatch):
    body = maintenance.get_task("maintain").python_callable
    monkeypatch.setitem(body.__globals__, "get_current_context", lambda: "the context")
    runtime = types.SimpleNamespace(run_maintenance=lambda context: {"given": context})
    monkeypatch.setitem(sys.modules, "clipfarm_runtime", runtime)
    assert body() == {"given": "the context"}
