"""Airflow for the plugin tests: a home folder of their own, and nothing left in the environment of other tests."""

import importlib
import os
import sys
import tempfile
from unittest import mock

HOME = tempfile.TemporaryDirectory(prefix="clipfarm-airflow-")

if "airflow" not in sys.modules:  # it reads AIRFLOW_HOME once, when it is first imported
    with mock.patch.dict(os.environ, {"AIRFLOW_HOME": HOME.name}):
        importlib.import_module("airflow.settings")
