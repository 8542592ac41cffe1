"""What a fit and its predictions took."""

import time

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.models.inputs import ModelInputs
from clipfarm_tasks.steps.measured_cost import FitClock, measured_cost


class Slow:
    """A model whose predictions take 20 ms; the first one, which reads what it needs, 200 ms more."""

    def __init__(self):
        self.asked = []

    def predict(self, rows):
        time.sleep(0.02 if self.asked else 0.22)
        self.asked.append(len(rows))
        return np.zeros(len(rows), np.float32)


def inputs(rows):
    return ModelInputs(pd.DataFrame(index=range(rows)), np.ones(rows, np.float32))


@pytest.mark.parametrize(("rows", "asked"), [(250, 250), (5000, 1000)])
def test_the_shortest_of_three_predictions_is_scaled_to_a_thousand_rows(tmp_path, rows, asked):
    model = Slow()
    found = measured_cost(FitClock(), model, inputs(rows), tmp_path)["ms_per_1000_predictions"]
    assert model.asked == [asked] * 3
    assert found >= 20 * 1000 / asked
    assert found < 220 * 1000 / asked


def test_the_twin_that_nobody_loads_counts_no_bytes(tmp_path):
    for name, size in (("gbdt.skops", 100), ("gbdt.joblib", 50), ("gbdt_projector.pt", 7)):
        (tmp_path / name).write_bytes(bytes(size))
    found = measured_cost(FitClock(), Slow(), inputs(3), tmp_path)
    assert found["model_bytes"] == 107
    assert 10 < found["process_peak_mib"] < 1e6  # MiB: a Python with pandas, on no machine of a terabyte


def test_the_clock_counts_what_runs_under_it_and_nothing_else():
    clock = FitClock()
    for _ in range(2):
        with clock.running():
            time.sleep(0.02)
        sum(range(3_000_000))
    assert clock.wall_s >= 0.04
    assert clock.cpu_s < 0.02  # it slept
