"""What parsing costs and whether it is the same every time. Each parse is a process of its own."""

import json
import pathlib

import pytest

from tests.dags.fresh_process import answer_of

ALERTS = {
    "CLIPFARM_ALERT_SLACK_CONNECTION": "clipfarm_slack",
    "CLIPFARM_ALERT_EMAIL": "a@example.org,b@example.org",
    "CLIPFARM_ALERT_SMTP_CONNECTION": "clipfarm_smtp",
    "CLIPFARM_ALERT_LATE_AFTER_MIN": "240",
}
HEAVY = ["import numpy", "from torch import nn", "import airflow.providers.amazon.aws.hooks.s3"]
HERE = pathlib.Path(__file__).parent
CONNECTIONS = {
    "AIRFLOW_CONN_CLIPFARM_SLACK": '{"conn_type": "slackwebhook", "password": "https://hooks.example/T0/a-secret"}',
    "AIRFLOW_CONN_CLIPFARM_SMTP": '{"conn_type": "smtp", "host": "mail.example", "password": "a-secret"}',
}
SERIALISE = """
import json, os, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
found = []
for variables in json.loads(sys.argv[2]):
    os.environ.update(variables)
    bag = DagBag(sys.argv[1], safe_mode=False)
    found.append({name: DagSerialization.to_dict(dag) for name, dag in bag.dags.items()})
sys.stdout.write("\\n===\\n" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def parsed(root, airflow_environment):
    ours = [root / "dags", root / "plugins", root / "clipfarm_tasks"]
    return answer_of(airflow_environment, HERE / "guard.py", root / "dags", *ours)


def test_parses_with_every_heavy_import_refused(parsed):
    assert parsed["errors"] == []
    assert sorted(parsed["dags"]) == [
        "clipfarm_freshness",
        "clipfarm_maintenance",
        "clipfarm_training",
        "clipfarm_tuning",
    ]


def test_parsing_loads_nothing_heavy_over_bare_airflow(parsed):
    assert "torch" in parsed["heavy"]
    assert set(parsed["heavy"]) & set(parsed["loaded"]) == set()


def test_parsing_loads_only_the_parse_safe_modules_of_the_package(parsed):
    language = {"config", "contracts", "errors", "families", "graph", "keys", "slice_limits"}
    loaded = {name.removeprefix("clipfarm_tasks.") for name in parsed["ours"]} - {
        "clipfarm_alerts",
        "clipfarm_tasks",
        "clipfarm_freshness_dag",
        "clipfarm_maintenance_dag",
        "clipfarm_training_dag",
        "clipfarm_tuning_dag",
    }
    assert {name for name in loaded if name.split(".")[0] != "deployment"} <= language
    assert {"config", "families", "deployment.form"} <= loaded


@pytest.fixture(scope="module")
def refused(tmp_path_factory, airflow_environment):
    """What the guard says of one DAG for each heavy import."""
    folder = tmp_path_factory.mktemp("dags")
    for number, line in enumerate(HEAVY):
        lines = ("from airflow.sdk import dag", "@dag()", f"def heavy{number}():", f"    {line}", f"heavy{number}()")
        (folder / f"heavy{number}_dag.py").write_text("\n".join(lines))
    return answer_of(airflow_environment, HERE / "guard.py", folder, folder)


@pytest.mark.parametrize("number", range(len(HEAVY)), ids=HEAVY)
def test_guard_fails_a_dag_that_loads_something_heavy(refused, number):
    assert refused["dags"] == []
    [error] = [error for error in refused["errors"] if f"heavy{number}_dag.py imports" in error]
    assert "while Airflow parses" in error


@pytest.fixture(scope="module")
def serialised(root, airflow_environment):
    """Every DAG as two processes with different hash seeds serialise it, first without alerts, then with them."""
    each = json.dumps([{}, ALERTS | CONNECTIONS])
    answers = [
        answer_of(airflow_environment | {"PYTHONHASHSEED": seed}, "-c", SERIALISE, root / "dags", each)
        for seed in ("1", "2")
    ]
    return list(zip(*answers, strict=True))


def test_serialised_dag_is_the_same_in_every_process(serialised):
    first, second = serialised[0]
    # Airflow writes the DAG's own keys in the order of a set; it sorts them before it compares versions, and so do we.
    assert json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    sizes = {name: len(dag["dag"]["tasks"]) for name, dag in first.items()}
    assert sizes == {"clipfarm_freshness": 1, "clipfarm_maintenance": 1, "clipfarm_training": 72, "clipfarm_tuning": 3}
    assert told(first) == {}


def test_serialised_dag_is_the_same_with_alerts_and_holds_no_credentials(serialised):
    first, second = serialised[1]
    text = json.dumps(first, sort_keys=True)
    assert text == json.dumps(second, sort_keys=True)
    assert told(first) == {"clipfarm_freshness": ["check_freshness"], "clipfarm_training": ["gate", "leaderboard"]}
    deadlines = {name: len(dag["dag"].get("deadline") or ()) for name, dag in first.items()}
    assert {name: number for name, number in deadlines.items() if number} == {"clipfarm_training": 2}
    assert "clipfarm_slack" in text
    assert "a-secret" not in text
    assert ".example/T0" not in text


def told(serialised):
    """Tasks whose failure is told, by DAG."""
    found = {
        name: sorted(
            task["__var"]["task_id"] for task in dag["dag"]["tasks"] if task["__var"].get("has_on_failure_callback")
        )
        for name, dag in serialised.items()
    }
    return {name: tasks for name, tasks in found.items() if tasks}


@pytest.mark.parametrize("alerts", [{}, ALERTS], ids=["no alerts", "alerts"])
def test_wrong_alerts_are_an_import_error_that_names_the_variable(root, airflow_environment, alerts):
    wrong = alerts | {"CLIPFARM_ALERT_LATE_AFTER_MIN": "soon"}
    ours = [root / "dags", root / "plugins", root / "clipfarm_tasks"]
    answer = answer_of(airflow_environment | wrong, HERE / "guard.py", root / "dags", *ours)
    assert sorted(answer["dags"]) == ["clipfarm_maintenance", "clipfarm_tuning"]
    assert all("ConfigError: alerts: CLIPFARM_ALERT_LATE_AFTER_MIN: " in error for error in answer["errors"])


def test_alerts_load_nothing_heavy_either(root, airflow_environment):
    ours = [root / "dags", root / "plugins", root / "clipfarm_tasks"]
    answer = answer_of(airflow_environment | ALERTS, HERE / "guard.py", root / "dags", *ours)
    assert answer["errors"] == []
    assert "slack_sdk" in answer["loaded"]
