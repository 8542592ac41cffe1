"""An Airflow whose tasks find imported what they would import: each takes seconds less, and does the same.

That every step finds all it imports is shown by the runs without Airflow, whose workers are new processes.
"""

from tests.warm_python import PRELOADED

OF_AIRFLOW = [
    "airflow.dag_processing.dagbag",
    "airflow.providers.amazon.aws.hooks.base_aws",
    "airflow.sdk.definitions.decorators",
    "airflow.sdk.execution_time.task_runner",
]
# Airflow imports this file into each of its processes. The scheduler's forks are those that run the tasks.
_SETTINGS = f"""
import importlib
import sys

__all__ = []  # nothing of it is a setting
if "scheduler" in sys.argv:
    for name in {PRELOADED + OF_AIRFLOW}:
        importlib.import_module(name)
"""


def warm_home(folder):
    """A folder as AIRFLOW_HOME."""
    (folder / "config").mkdir()
    (folder / "config" / "airflow_local_settings.py").write_text(_SETTINGS)
    return folder
