"""Several fits of one family that differ in their seeds, as one model: the mean of their predictions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clipfarm_tasks.families import Family
from clipfarm_tasks.models.family import FitOptions, FitReport, ModelFamily
from clipfarm_tasks.models.inputs import F32, ModelInputs


class BaggedFamily:
    """The mean of fits with the seeds s, s + 1, ...; see `ModelFamily` for the contract.

    The first fit is the one without bags, under its names; the others are in the folders ``bag_2``, ``bag_3``, ...
    """

    def __init__(self, create: Callable[[], ModelFamily], bags: int) -> None:
        """Unfitted: ``bags`` models that ``create`` gives."""
        self._fits: Sequence[ModelFamily] = [create() for _ in range(bags)]

    def fit(
        self, train: ModelInputs, train_target: F32, val: ModelInputs, val_target: F32, options: FitOptions
    ) -> FitReport:
        """Fit each; the report is that of the first, with the seeds of all and the curves of each."""
        seeds = [options.seed + position for position in range(len(self._fits))]
        reports = [
            model.fit(train, train_target, val, val_target, replace(options, seed=seed))
            for model, seed in zip(self._fits, seeds, strict=True)
        ]
        curves = {
            f"{name}_bag_{number}" if number > 1 else name: curve
            for number, report in enumerate(reports, start=1)
            for name, curve in report.curves.items()
        }
        return replace(reports[0], curves=curves, hyperparams={**reports[0].hyperparams, "bag_seeds": seeds})

    def refit(self, rows: ModelInputs, target: F32, options: FitOptions) -> dict[str, Any]:
        """Refit each with what it chose itself; what is told is of the first."""
        found = [
            model.refit(rows, target, replace(options, seed=options.seed + position))
            for position, model in enumerate(self._fits)
        ]
        return found[0]

    def predict(self, rows: ModelInputs) -> F32:
        """(N,) float32: the mean of the predictions, added up in the order of the seeds."""
        total = np.zeros(len(rows), np.float64)
        for model in self._fits:
            total += model.predict(rows)
        return (total / len(self._fits)).astype(np.float32)

    def save(self, folder: Path) -> list[Path]:
        """Write the files of each."""
        return [file for model, own in zip(self._fits, self._folders(folder), strict=True) for file in model.save(own)]

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        for model, own in zip(self._fits, self._folders(folder), strict=True):
            model.load(own)

    def _folders(self, folder: Path) -> list[Path]:
        return [folder, *(folder / f"bag_{number}" for number in range(2, len(self._fits) + 1))]


def bags_in(folder: Path, family: Family) -> int:
    """How many fits of a family are saved in a folder."""
    return 1 + len({file.parent for file in folder.glob(f"bag_*/{family}*")})
