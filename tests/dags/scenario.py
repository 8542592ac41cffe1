"""Runs the DAG once per scenario with steps that only answer, and prints what became of every task as JSON.

Executed in a process of its own, with an Airflow database of its own: a scenario is a JSON object with ``conf`` and
``fail`` ({"step:strategy:horizon:family": name of an error}). Airflow is real here: trigger rules, skips, XComs.
"""

import json
import sys
import types
from datetime import UTC, datetime
from unittest import mock

from airflow.dag_processing.dagbag import DagBag
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from jsonschema import Draft202012Validator
from sqlalchemy import select

from clipfarm_tasks import errors
from clipfarm_tasks.config import Frozen, RunParams, Settings
from clipfarm_tasks.contracts import RunRecord

RUN_AFTER = datetime(2026, 3, 1, 4, 30, tzinfo=UTC)


class Answer(Frozen):
    """Record of a step that did nothing."""

    step: str


def play(fail: dict[str, str], seen: dict[str, object]) -> None:
    """Replace the steps and the store for one scenario."""
    import clipfarm_runtime  # found only because Airflow puts its plugins folder on the path

    def answer(name, *combination):
        called = ":".join([name, *(str(part) for part in combination if part is not None)])
        if called in fail:
            raise getattr(errors, fail[called])(f"expected {called} to work, got {fail[called]}")
        return called

    def execute(name, store, settings, run_id, strategy=None, horizon=None, family=None):
        assert (store, run_id) == ("the store", "a-run")
        called = answer(name, strategy, horizon, family)
        if name == "gate" and fail:
            raise errors.DataError("expected every requested job to have its snapshot")
        return Answer(step=called)

    def resolve_run(store, params, source_run_id, as_of):
        seen.update(params=params, source_run_id=source_run_id, as_of=as_of)
        answer("resolve_run")
        chosen = RunParams.parse(params)
        return RunRecord(
            run_id="a-run",
            config_key="a-key",
            digest="a-digest",
            strategies=chosen.strategies,
            horizons=chosen.horizons,
            models=chosen.models,
        )

    fakes = {"catalog": {"execute": execute}, "resolve_run": {"resolve_run": resolve_run}}
    for module, content in fakes.items():
        fake = types.ModuleType(module)
        vars(fake).update(content)
        sys.modules[f"clipfarm_tasks.steps.{module}"] = fake
    clipfarm_runtime.open_bucket = lambda: ("the store", Settings(bucket="unused"))


def run(scenario: dict[str, dict]) -> dict[str, object]:
    """Run the DAG without a logical date, as a run triggered by hand may have none."""
    seen: dict[str, object] = {}
    play(scenario["fail"], seen)
    bag = DagBag()
    assert not bag.import_errors, bag.import_errors
    dag = bag.dags["clipfarm_training"]
    with create_session() as session:
        for model in (XComModel, TaskInstance, DagRun):
            session.query(model).delete()
    # Airflow sleeps a second wherever no task can start, and checks the form's schemas, which the parse above has done,
    # thousands of times more: half of what a scenario costs.
    with mock.patch("time.sleep"), mock.patch.object(Draft202012Validator, "check_schema"):
        dag_run = dag.test(run_after=RUN_AFTER, logical_date=None, run_conf=scenario["conf"])
    with create_session() as session:
        tasks = session.scalars(select(TaskInstance)).all()
        xcoms = session.execute(select(XComModel.task_id, XComModel.key, XComModel.value)).all()
        return {
            "states": {task.task_id: str(task.state) for task in tasks},
            "tries": {task.task_id: task.try_number for task in tasks},
            "xcoms": [[task_id, key, value] for task_id, key, value in xcoms],
            "state": str(dag_run.state),
            "run_id": dag_run.run_id,
            "seen": seen,
        }


if __name__ == "__main__":
    initdb()
    outcomes = {name: run(scenario) for name, scenario in json.loads(sys.argv[1]).items()}
    sys.stdout.write("\n===\n" + json.dumps(outcomes, default=str))
