"""Clocks around a fit and its predictions: what `clipfarm_tasks.evaluation.cost` names."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipfarm_tasks.models.family import Predictor
from clipfarm_tasks.models.inputs import ModelInputs

_ROWS = 1000
_REPEATS = 3


class FitClock:
    """Adds up the wall and CPU seconds of what runs under it; the CPU seconds are those of all threads."""

    def __init__(self) -> None:
        """Nothing has run yet."""
        self.wall_s = 0.0
        self.cpu_s = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what runs inside."""
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        yield
        self.wall_s += time.perf_counter() - wall_s
        self.cpu_s += time.process_time() - cpu_s


def measured_cost(clock: FitClock, model: Predictor, test: ModelInputs, folder: Path) -> dict[str, float]:
    """The cost of a model that was fitted under the clock, has predicted before and was saved into the folder.

    ``process_peak_mib`` is the most memory that this process has ever had resident: with the libraries, the rows and
    whatever it did before the fit. ``ms_per_1000_predictions`` is the shortest of three predictions of the first 1,000
    rows of the test part (of all of a smaller one, scaled up), features given: other processes on the machine make a
    prediction longer and never shorter. ``model_bytes`` are of the files that are read to predict, so without the
    ``.joblib`` twins, which nobody here loads.
    """
    asked = test.slice(0, min(_ROWS, len(test)))
    shortest_s = min(_predicted_s(model, asked) for _ in range(_REPEATS))
    return {
        "fit_seconds": clock.wall_s,
        "fit_cpu_seconds": clock.cpu_s,
        "process_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,  # Linux tells KiB
        "ms_per_1000_predictions": shortest_s * 1000 * _ROWS / len(asked),
        "model_bytes": sum(
            file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.suffix != ".joblib"
        ),
    }


def _predicted_s(model: Predictor, rows: ModelInputs) -> float:
    started = time.perf_counter()
    model.predict(rows)
    return time.perf_counter() - started
