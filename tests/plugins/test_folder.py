"""How Airflow finds this folder and what it executes there."""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = """
import json, sys
import airflow.settings
from airflow import plugins_manager
loaded = sorted(name for name in sys.modules if name.startswith("clipfarm"))
plugins_manager.ensure_plugins_loaded()
executed = sorted(name for name in sys.modules if name.startswith("clipfarm"))
import clipfarm_runtime
from airflow._shared.module_loading import import_string
trigger = import_string("clipfarm_pod_trigger.TrainingPodTrigger")
print()
print(json.dumps({
    "before": loaded, "executed": executed, "file": clipfarm_runtime.__file__, "trigger": trigger.__mro__[1].__name__
}))
"""


def test_task_bodies_find_the_runtime_and_airflow_does_not_execute_it(tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment = kept | {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["file"] == str(ROOT / "plugins" / "clipfarm_runtime.py")
    assert answer["before"] + answer["executed"] == []
    assert answer["trigger"] == "KubernetesPodTrigger"  # the triggerer finds it by the path it was written down with
