"""Parses a DAG folder while refusing heavy imports made by our code, and prints what the parse loaded.

An import belongs to our code when a frame of our code is anywhere on the stack: also what a library loads because we
imported it counts. What bare Airflow loads by itself does not.

Arguments: the DAG folder, then the folders whose code is ours.
"""

import builtins
import importlib.abc
import json
import pathlib
import sys

from airflow.dag_processing.dagbag import DagBag

HEAVY = {
    "boto3",
    "botocore",
    "joblib",
    "kubernetes",
    "kubernetes_asyncio",
    "lance",
    "numpy",
    "obstore",
    "optuna",
    "pandas",
    "polars",
    "pyarrow",
    "scipy",
    "sklearn",
    "skops",
    "torch",
}
FOLDER, *OURS = (str(pathlib.Path(argument).resolve()) for argument in sys.argv[1:])
plain_import = builtins.__import__


def ours(frame):
    while frame is not None:
        if frame.f_code.co_filename.startswith(tuple(f"{folder}/" for folder in OURS)):
            return frame.f_code.co_filename
        frame = frame.f_back
    return None


def refuse(name, frame):
    if name.partition(".")[0] in HEAVY and (culprit := ours(frame)):
        raise ImportError(f"{culprit} imports {name} while Airflow parses")


class Guard(importlib.abc.MetaPathFinder):
    """Sees every first import, however it is made."""

    def find_spec(self, name, path=None, target=None):
        refuse(name, sys._getframe())


def guarded_import(name, *args, **kwargs):
    """Sees the import of a module that Airflow had loaded already; only our own frame counts."""
    caller = sys._getframe(1)
    if caller.f_code.co_filename.startswith(tuple(f"{folder}/" for folder in OURS)):
        refuse(name, caller)
    return plain_import(name, *args, **kwargs)


bare = set(sys.modules)
sys.meta_path.insert(0, Guard())
builtins.__import__ = guarded_import
bag = DagBag(FOLDER, safe_mode=False)
answer = {
    "heavy": sorted(HEAVY),
    "errors": list(bag.import_errors.values()),
    "dags": list(bag.dags),
    "loaded": sorted({name.partition(".")[0] for name in set(sys.modules) - bare}),
    "ours": sorted(name for name in sys.modules if name.startswith("clipfarm_")),
}
sys.stdout.write("\n===\n" + json.dumps(answer))
