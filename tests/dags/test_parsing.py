"""What parsing costs and whether it is the same every time. Each parse is a process of its own."""

import json
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
SERIALISE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
bag = DagBag(sys.argv[1], safe_mode=False)
dags = {name: DagSerialization.to_dict(dag) for name, dag in bag.dags.items()}
sys.stdout.write("\\n===\\n" + json.dumps(dags))
"""


def answer_of(environment, *arguments):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.rpartition("\n===\n")[2])


@pytest.fixture
def parsed(root, airflow_environment):
    ours = [root / "dags", root / "plugins", root / "clipfarm_tasks"]
    return answer_of(airflow_environment, HERE / "guard.py", root / "dags", *ours)


def test_parses_with_every_heavy_import_refused(parsed):
    assert parsed["errors"] == []
    assert sorted(parsed["dags"]) == ["clipfarm_maintenance", "clipfarm_training"]


def test_parsing_loads_nothing_heavy_over_bare_airflow(parsed):
    assert "torch" in parsed["heavy"]
    assert set(parsed["heavy"]) & set(parsed["loaded"]) == set()


def test_parsing_loads_only_the_parse_safe_modules_of_the_package(parsed):
    safe = {"config", "contracts", "errors", "families", "form", "keys"}
    loaded = {name.removeprefix("clipfarm_tasks.") for name in parsed["ours"]} - {
        "clipfarm_tasks",
        "clipfarm_maintenance_dag",
        "clipfarm_training_dag",
    }
    assert loaded <= safe
    assert {"config", "families", "form"} <= loaded


@pytest.mark.parametrize(
    "line", ["import numpy", "from torch import nn", "import airflow.providers.amazon.aws.hooks.s3"]
)
def test_guard_fails_a_dag_that_loads_something_heavy(line, tmp_path, airflow_environment):
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "heavy_dag.py").write_text(
        f"from airflow.sdk import dag\n@dag()\ndef heavy():\n    {line}\nheavy()\n"
    )
    answer = answer_of(airflow_environment, HERE / "guard.py", tmp_path / "dags", tmp_path / "dags")
    assert answer["dags"] == []
    assert "while Airflow parses" in answer["errors"][0]


def test_serialised_dag_is_the_same_in_every_process(root, airflow_environment):
    first, second = (
        answer_of(airflow_environment | {"PYTHONHASHSEED": seed}, "-c", SERIALISE, root / "dags") for seed in ("1", "2")
    )
    # Airflow writes the DAG's own keys in the order of a set; it sorts them before it compares versions, and so do we.
    assert json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    sizes = {name: len(serialised["dag"]["tasks"]) for name, serialised in first.items()}
    assert sizes == {"clipfarm_maintenance": 1, "clipfarm_training": 49}
