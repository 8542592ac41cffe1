"""The family that docs/families.md adds: its blocks in a copy of the package, and that copy's run."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys

import joblib
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.families import ENSEMBLE, Family, Horizon, Strategy
from tests.eventually import PATIENCE_S

NAME = "linear_svr"
PAIR = (Strategy.CONCAT, Horizon.D7)
OPTIONS = ("--strategy", "concat", "--horizon", "7", "--model", "ridge", "--model", NAME, "--no-temporal-check")
CONTRACT = """
import pathlib, sys
import joblib, numpy as np
from clipfarm_tasks.families import PRESETS, Family
from clipfarm_tasks.models.registry import create, load

folder, family = pathlib.Path(sys.argv[1]), Family("linear_svr")
rows, target, options = joblib.load(folder / "data")
model = create(family)
model.fit(rows.slice(0, 150), target[:150], rows.slice(150, 200), target[150:], options)
before = model.predict(rows)
model.refit(rows, target, options)
after = model.predict(rows)
assert {path.name for path in model.save(folder)} == {"linear_svr.skops", "linear_svr.joblib"}
(folder / "linear_svr.joblib").unlink()
assert np.array_equal(load(family, folder).predict(rows), after)
assert set(PRESETS[family].space) <= set(vars(PRESETS[family].hyperparams))
assert (before != after).any()
print(np.corrcoef(before[150:], target[150:])[0, 1])
"""


@pytest.fixture(scope="module")
def blocks(repository):
    """What is added to `Family`, before and into `PRESETS`, and the file."""
    found = re.findall(r"```python\n(.*?)```", (repository / "docs" / "families.md").read_text(), flags=re.DOTALL)
    assert len(found) == 4
    return found


@pytest.fixture(scope="module")
def run(repository, blocks, tmp_path_factory):
    """Runs Python with a copy of the package that has the family."""
    folder = tmp_path_factory.mktemp("plugin")
    package = folder / "clipfarm_tasks"
    shutil.copytree(repository / "clipfarm_tasks", package, ignore=shutil.ignore_patterns("__pycache__"))
    member, recipe, row, module = blocks
    text = (package / "families.py").read_text()
    *_, last = Family
    for place, content in (
        (f'    {last.name} = "{last}"\n', f'    {last.name} = "{last}"\n{member}'),
        ("_CATEGORIES = ", f"{recipe}\n\n_CATEGORIES = "),
        ("\n}\n\nDEFAULT_FAMILIES = ", f"\n{row}}}\n\nDEFAULT_FAMILIES = "),
    ):
        assert text.count(place) == 1, place
        text = text.replace(place, content)
    (package / "families.py").write_text(text)
    (package / "models" / f"{NAME}.py").write_text(module)

    def python(*arguments, **environment):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"} | environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return python


def test_it_takes_sixty_lines_at_most(blocks):
    lines = [line for block in blocks for line in block.splitlines()]
    assert sum(bool(line.strip()) for line in lines) <= 60
    assert max(map(len, lines)) <= 120


def test_it_keeps_the_contract(run, videos, options, tmp_path):
    joblib.dump((videos.rows, videos.target, options()), tmp_path / "data")
    assert float(run("-c", CONTRACT, str(tmp_path))) > 0.5


def test_a_run_trains_it_and_blends_it(run, store, bucket, s3_server):
    environment = s3_server.environment() | {"CLIPFARM_BUCKET": bucket.bucket}
    run("-m", "clipfarm_tasks", "sample", "--videos", "40", "--width", "8", **environment)
    shown = run("-m", "clipfarm_tasks", "run", "--run-id", "plugged", *OPTIONS, **environment)
    assert "3 jobs finished, 0 missing" in shown
    prefix = keys.comparison("plugged")
    rows = list(csv.DictReader(io.StringIO(store.get(f"{prefix}metrics_comparison.csv").decode())))
    assert {(row["model"], row["status"]) for row in rows} == {(name, "ok") for name in ("ridge", NAME, ENSEMBLE)}
    blend = store.get(f"{keys.job_snapshot('plugged', ENSEMBLE, *PAIR)}models/ensemble.json")
    assert list(json.loads(blend)["weights"]) == ["ridge", NAME]
