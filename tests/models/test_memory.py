"""What a fit adds to the memory of a process whose vectors are memory-mapped: never a copy of them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clipfarm_tasks.families import Family

ROOT = Path(__file__).parents[2]
ROWS, FEW, WIDTH = 24_000, 2_000, 768

# What is freed goes back at once, so that holes in the heap do not count as memory in use.
EAGER = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

# Anonymous memory: pages of a mapped file are not counted, for the kernel may drop them.
PROGRAM = """
import pathlib, sys, threading, time
import numpy as np, pandas as pd
from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.families import Device, Family
from clipfarm_tasks.models.family import FitOptions
from clipfarm_tasks.models.inputs import ModelInputs
from clipfarm_tasks.models.registry import create

family, path, few = Family(sys.argv[1]), sys.argv[2], int(sys.argv[3])
options = FitOptions(
    numeric_cols=("subscribers",), categorical_cols=("country",), feature_set=FeatureSet.V2_LOG_COUNTS, seed=0,
    device=Device.CPU, threads=1, max_epochs=1, patience=1, projector_dim=8,
)

def peak_of_a_fit(n):
    vectors = np.load(path, mmap_mode="r")[:n]
    metadata = pd.DataFrame({"subscribers": np.arange(n) % 97.0, "country": pd.Series(["US", "DE"] * (n // 2))})
    rows = ModelInputs(metadata, np.ones(n, np.float32), vectors, vectors, vectors, vectors)
    target = np.asarray(vectors[:, 0]) + 5
    peak, done = [0], threading.Event()

    def watch():
        while not done.is_set():
            status = pathlib.Path("/proc/self/status").read_text()
            peak[0] = max(peak[0], int(status.split("RssAnon:")[1].split()[0]))
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    train, val = rows.slice(0, n - n // 4), rows.slice(n - n // 4, n)
    model = create(family)
    model.fit(train, target[: len(train)], val, target[len(train) :], options)
    model.predict(rows)
    done.set()
    watcher.join()
    return peak[0] * 1024

few_rows = peak_of_a_fit(few)
print(peak_of_a_fit(len(np.load(path, mmap_mode="r"))) - few_rows)
"""


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    path = tmp_path_factory.mktemp("memory") / "vectors.npy"
    mapped = np.lib.format.open_memmap(path, "w+", np.float32, (ROWS, WIDTH))
    rng = np.random.default_rng(0)
    for start in range(0, ROWS, 2000):
        mapped[start : start + 2000] = rng.standard_normal((2000, WIDTH), dtype=np.float32)
    mapped.flush()
    return path


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux: /proc tells the anonymous memory")
@pytest.mark.parametrize("family", list(Family), ids=str)
def test_more_rows_take_no_more_than_a_third_of_their_vectors(family, vectors):
    command = [sys.executable, "-c", PROGRAM, family.value, str(vectors), str(FEW)]
    environment = os.environ | EAGER
    output = subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True, text=True).stdout
    assert int(output) < (ROWS - FEW) * WIDTH * 4 / 3
