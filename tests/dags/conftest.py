"""Airflow for the DAG tests: a home folder of their own, and nothing left in the environment of other tests."""

import importlib
import os
import pathlib
import sys
import tempfile
from unittest import mock

import pytest

ROOT = pathlib.Path(__file__).parents[2]
HOME = tempfile.TemporaryDirectory(prefix="clipfarm-airflow-")

if "airflow" not in sys.modules:  # it reads AIRFLOW_HOME once, when it is first imported
    with mock.patch.dict(os.environ, {"AIRFLOW_HOME": HOME.name}):
        importlib.import_module("airflow.settings")


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def bag(root):
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(root / "dags", safe_mode=False)


@pytest.fixture(scope="session")
def dag(bag):
    """The training DAG."""
    assert bag.import_errors == {}
    return bag.dags["clipfarm_training"]


@pytest.fixture(scope="session")
def dags(bag):
    """Every DAG, by id."""
    assert bag.import_errors == {}
    return dict(sorted(bag.dags.items()))


@pytest.fixture(scope="module")
def airflow_environment(root, tmp_path_factory):
    """Environment of processes with an Airflow of the module's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHONHASHSEED"))}
    return kept | {
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(root / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(root),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
