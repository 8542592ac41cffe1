"""The closed sets of the project, and one table that says what each model family is and needs.

Importing this module costs nothing: it is part of what DAG files read at parse time.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final, Literal

# What the vector columns of the published pipelines are called; no metadata column of such a name is a feature.
VECTOR_COLUMN = re.compile(r"(fused|proj)_[0-9]+")


class Strategy(StrEnum):
    """Fusion strategy of the upstream embeddings."""

    CONCAT = "concat"
    SUM_POOL = "sum_pool"
    MAX_POOL = "max_pool"


class Horizon(IntEnum):
    """Days after publication at which the views are predicted."""

    D7 = 7
    D30 = 30


class Family(StrEnum):
    """Model family."""

    CONCAT_MLP = "concat_mlp"
    GATED_FUSION_MLP = "gated_fusion_mlp"
    RIDGE = "ridge"
    GBDT = "gbdt"
    TABM = "tabm"
    KERNEL = "kernel"


ENSEMBLE: Final = "ensemble"
"""The blend of a pair's families: a model like any other to who reads results, but no family that can be asked for."""

ModelName = Family | Literal["ensemble"]


def model_names(families: Sequence[Family]) -> tuple[ModelName, ...]:
    """The models of a pair that trains these families: they, and their blend where there is more than one."""
    return (*families, ENSEMBLE) if len(families) > 1 else tuple(families)


class Baseline(StrEnum):
    """A guess that every model is compared with."""

    TRAIN_MEAN = "train_mean"
    CREATOR_MEAN = "creator_mean"
    RIDGE_LOG_COUNTS = "ridge_log_counts"
    PLAIN_TREES = "plain_trees"


NAIVE = (Baseline.TRAIN_MEAN, Baseline.CREATOR_MEAN)
"""The baselines without a model: the better of them is the measure of skill."""


class Modality(StrEnum):
    """Source of an embedding."""

    VIDEO = "video"
    AUDIO = "audio"
    TEXT = "text"


class Device(StrEnum):
    """Where tensors live; ``auto`` takes CUDA when there is one."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True)
class Needs:
    """What one training job asks of the machine it runs on."""

    cpus: int
    memory_mib: int
    gpu: bool


@dataclass(frozen=True)
class NeuralPreset:
    """Training recipe of a torch family (AdamW, MSE on ``target_log``).

    A step takes ``batch_size`` rows; of few rows fewer, so that an epoch has 32 steps, but at least
    ``least_batch_size``: every step moves all weights, and those of a wide vector are many.
    """

    hidden: tuple[int, ...]
    dropout: float
    learning_rate: float
    weight_decay: float
    batch_size: int
    least_batch_size: int


@dataclass(frozen=True)
class GatedPreset(NeuralPreset):
    """The gated family adds the width of its towers and of its gate."""

    tower_dim: int
    gate_hidden: int


@dataclass(frozen=True)
class CategoryPreset:
    """Which categories of a column are one-hot on their own; all others, and unseen ones, share one column.

    They have at least ``min_frequency`` train rows and are among the ``max_categories - 1`` most frequent ones: a
    column of search texts would else make a model as wide as there are searches.
    """

    min_frequency: int
    max_categories: int


@dataclass(frozen=True)
class RidgePreset:
    """Grid of RidgeCV; where the best alpha is at an edge, the grid goes on there by factors of ``alpha_step``.

    It goes on as far as a penalty can matter: from ``min_share`` to ``max_share`` of the sum of squares of the centred
    features, which no eigenvalue of their Gram matrix exceeds. Below, the penalty is lost in rounding; above, next to
    nothing is left of any coefficient.
    """

    alphas: tuple[float, ...]
    alpha_step: float
    min_share: float
    max_share: float
    categories: CategoryPreset


@dataclass(frozen=True)
class GbdtPreset:
    """Histogram gradient boosting on the projected features.

    ``max_features`` is the fraction of the columns that a split may choose from: on 2,800 real posts 0.35 instead of
    all took 0.7 % off the RMSE, in the mean of eight splits.
    """

    learning_rate: float
    max_depth: int
    max_iter: int
    min_samples_leaf: int
    l2_regularization: float
    max_features: float
    projector: NeuralPreset
    folds: int
    categories: CategoryPreset


@dataclass(frozen=True)
class TabmPreset(NeuralPreset):
    """TabM adds the number of its members, and the widths that numbers and vectors are embedded to."""

    members: int
    numeric_dim: int
    vector_dim: int


@dataclass(frozen=True)
class KernelPreset:
    """Ridge on Nystroem features of an additive kernel, whose scales are chosen by marginal likelihood.

    ``rows`` of the train part choose the scales, in at most ``iterations`` steps, and of these ``components`` span the
    features of each block. Penalties are ``alphas`` times the noise that was found, continued as those of ridge.
    """

    rows: int
    iterations: int
    components: int
    alphas: tuple[float, ...]
    categories: CategoryPreset

    def ridge(self, noise: float) -> RidgePreset:
        """The penalties, with ``noise`` in variances of the target."""
        alphas = tuple(noise * alpha for alpha in self.alphas)
        return RidgePreset(alphas, alpha_step=3.0, min_share=1e-10, max_share=100.0, categories=self.categories)


Recipe = NeuralPreset | GatedPreset | RidgePreset | GbdtPreset | TabmPreset | KernelPreset


@dataclass(frozen=True)
class Span:
    """Values that tuning chooses from: both ends and all between, whole numbers where both ends are."""

    low: float
    high: float
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return float(self.low).is_integer() and float(self.high).is_integer()


@dataclass(frozen=True)
class FamilyPreset:
    """One row of the table: which inputs a family sees, what it needs, how it is trained.

    ``start_order`` says which of a pair's jobs starts first where not all can: the highest, which is the slowest.
    ``space`` holds what tuning may change in ``hyperparams``, by name; that of a nested recipe has a dot in its name.
    ``is_default`` says whether a run trains it that does not name its families, and ``is_seeded`` whether another seed
    makes another model.

    ``refits`` says whether it learns once more from train and val where a run asks for that. To gbdt it was worth
    nothing (0.2 % in the mean of ten splits of 2,800 real posts, six of them worse), and it doubles the time of the
    slowest job.
    """

    sees_fused: bool
    sees_modalities: bool
    needs: Needs
    refits: bool
    start_order: int
    hyperparams: Recipe
    space: Mapping[str, Span]
    is_default: bool = True
    is_seeded: bool = True


_CATEGORIES = CategoryPreset(min_frequency=20, max_categories=256)
_NEURAL_SPACE = {
    "learning_rate": Span(1e-4, 5e-3, log=True),
    "weight_decay": Span(1e-6, 1e-1, log=True),
    "dropout": Span(0.0, 0.5),
    "least_batch_size": Span(32, 256, log=True),
}

PRESETS: dict[Family, FamilyPreset] = {
    Family.CONCAT_MLP: FamilyPreset(
        sees_fused=True,
        sees_modalities=False,
        needs=Needs(cpus=1, memory_mib=2048, gpu=True),
        refits=True,
        start_order=4,
        hyperparams=NeuralPreset(
            hidden=(1024, 512, 256),
            dropout=0.20,
            learning_rate=1e-3,
            weight_decay=1e-4,
            batch_size=256,
            least_batch_size=128,
        ),
        space=_NEURAL_SPACE,
    ),
    Family.GATED_FUSION_MLP: FamilyPreset(
        sees_fused=False,
        sees_modalities=True,
        needs=Needs(cpus=1, memory_mib=2048, gpu=True),
        refits=True,
        start_order=1,
        hyperparams=GatedPreset(
            hidden=(256, 128),
            dropout=0.15,
            learning_rate=7e-4,
            weight_decay=1e-4,
            batch_size=256,
            least_batch_size=64,
            tower_dim=256,
            gate_hidden=128,
        ),
        space=_NEURAL_SPACE,
    ),
    Family.RIDGE: FamilyPreset(
        sees_fused=True,
        sees_modalities=False,
        needs=Needs(cpus=1, memory_mib=2048, gpu=False),
        refits=True,
        start_order=2,
        hyperparams=RidgePreset(
            alphas=(0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
            alpha_step=3.0,
            min_share=1e-10,
            max_share=100.0,
            categories=_CATEGORIES,
        ),
        space={"categories.min_frequency": Span(5, 50, log=True)},
        is_seeded=False,
    ),
    Family.GBDT: FamilyPreset(
        sees_fused=True,
        sees_modalities=False,
        needs=Needs(cpus=1, memory_mib=2048, gpu=False),
        refits=False,
        start_order=3,
        hyperparams=GbdtPreset(
            learning_rate=0.05,
            max_depth=6,
            max_iter=500,
            min_samples_leaf=20,
            l2_regularization=1e-4,
            max_features=0.35,
            projector=NeuralPreset(
                hidden=(256,), dropout=0.10, learning_rate=1e-3, weight_decay=1e-4, batch_size=256, least_batch_size=256
            ),
            folds=5,
            categories=_CATEGORIES,
        ),
        space={
            "learning_rate": Span(0.01, 0.2, log=True),
            "max_depth": Span(3, 10),
            "min_samples_leaf": Span(5, 100, log=True),
            "l2_regularization": Span(1e-6, 10.0, log=True),
            "max_features": Span(0.1, 1.0),
            "projector.learning_rate": Span(1e-4, 5e-3, log=True),
            "projector.dropout": Span(0.0, 0.5),
        },
    ),
    Family.TABM: FamilyPreset(
        sees_fused=True,
        sees_modalities=False,
        needs=Needs(cpus=1, memory_mib=2048, gpu=True),
        refits=True,
        start_order=4,
        hyperparams=TabmPreset(
            hidden=(256, 256),
            dropout=0.10,
            learning_rate=1e-3,
            weight_decay=1e-4,
            batch_size=256,
            least_batch_size=64,
            members=16,
            numeric_dim=16,
            vector_dim=128,
        ),
        space=_NEURAL_SPACE,
        is_default=False,
    ),
    Family.KERNEL: FamilyPreset(
        sees_fused=False,
        sees_modalities=True,
        needs=Needs(cpus=1, memory_mib=2048, gpu=False),
        refits=True,
        start_order=1,
        hyperparams=KernelPreset(
            rows=800, iterations=40, components=256, alphas=(0.3, 1.0, 3.0), categories=_CATEGORIES
        ),
        space={"rows": Span(200, 2000, log=True), "components": Span(64, 1024, log=True)},
        is_default=False,
    ),
}

DEFAULT_FAMILIES = tuple(family for family in Family if PRESETS[family].is_default)
"""The families of a run that does not name them."""
