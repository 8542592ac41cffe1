"""The contract of a model family: fit, refit, predict, save, load; see also `clipfarm_tasks.families.PRESETS`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.families import Device
from clipfarm_tasks.models.inputs import F32, ModelInputs


@dataclass(frozen=True)
class FitOptions:
    """How to fit, from the run's parameters; the family's own recipe is its preset.

    Attributes:
        numeric_cols: numeric metadata columns, F of them.
        categorical_cols: categorical metadata columns.
        feature_set: how numerics are prepared.
        seed: seeds Python, NumPy, torch and scikit-learn.
        device: where tensors live; ``auto`` takes CUDA when there is one.
        threads: CPU threads this job may use.
        max_epochs: most epochs a neural part trains.
        patience: epochs without a better validation RMSE before a neural part stops.
        projector_dim: width of the gbdt projection, in columns.
        learnt_cols: numeric columns that `clipfarm_tasks.models.learnt_features` adds to ``numeric_cols``.
        on_epoch: told the epoch (from 1) and its validation RMSE, after each; what it raises ends the fit.
    """

    numeric_cols: tuple[str, ...]
    categorical_cols: tuple[str, ...]
    feature_set: FeatureSet
    seed: int
    device: Device
    threads: int
    max_epochs: int
    patience: int
    projector_dim: int
    learnt_cols: tuple[str, ...] = ()
    on_epoch: Callable[[int, float], None] | None = None


@dataclass(frozen=True)
class Curve:
    """One neural fit by epoch: three lists of equal length, of which a fit without validation has only the first."""

    train_loss: list[float]
    val_loss: list[float]
    val_rmse_log: list[float]


@dataclass(frozen=True)
class FitReport:
    """What a fit tells about itself.

    Attributes:
        curves: by name: that of a neural family or gbdt_projector, those of further bags with ``_bag_2`` and so on;
            empty where nothing has epochs.
        hyperparams: JSON-ready recipe as used, found values (alpha, best epoch, logged columns) included.
        device: device that trained: cpu or cuda.
    """

    curves: dict[str, Curve] = field(default_factory=dict)
    hyperparams: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"


class Predictor(Protocol):
    """A fitted model."""

    def predict(self, rows: ModelInputs) -> F32:
        """(N,) float32 predictions of ``target_log``."""
        ...


class ModelFamily(Predictor, Protocol):
    """One trainable family. An instance is unfitted until `fit` or `load`."""

    def fit(
        self, train: ModelInputs, train_target: F32, val: ModelInputs, val_target: F32, options: FitOptions
    ) -> FitReport:
        """Learn from the train part; the validation part only selects and stops early. Targets are (N,) log space."""
        ...

    def refit(self, rows: ModelInputs, target: F32, options: FitOptions) -> dict[str, Any]:
        """Learn once more, from the train and the validation part together, for the epochs or trees that `fit` chose.

        What was chosen without the validation part, as the penalty of ridge, is chosen again.

        Args:
            rows: the rows of both parts.
            target: (N,) log space.
            options: those of `fit`.

        Returns:
            JSON-ready values found by this fit, under the names of `FitReport.hyperparams`.

        Raises:
            RuntimeError: the instance was not fitted here; a loaded model does not know what was chosen.
        """
        ...

    def save(self, folder: Path) -> list[Path]:
        """Write the model's files into ``folder``; returns them."""
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; predicts identically. Nothing is unpickled."""
        ...
