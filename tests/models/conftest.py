"""Made-up videos whose views depend on every input a family may see."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.families import Device
from clipfarm_tasks.models.family import FitOptions
from clipfarm_tasks.models.inputs import ModelInputs

NUMERIC = ("subscribers", "duration", "is_short")
CATEGORICAL = ("country", "language")
WIDTHS = {"video": 6, "audio": 5, "text": 7}


@dataclass(frozen=True)
class Videos:
    """Inputs and their (N,) log-space targets."""

    rows: ModelInputs
    target: np.ndarray

    def take(self, rows) -> "Videos":
        """The videos at the given positions, in the given order."""
        rows = np.asarray(rows)
        arrays = {name: getattr(self.rows, name)[rows] for name in ("text_present", "fused", *WIDTHS)}
        metadata = self.rows.metadata.iloc[rows].reset_index(drop=True)
        return Videos(ModelInputs(metadata, **arrays), self.target[rows])


def make_videos(n: int, seed: int = 0) -> Videos:
    """N videos, about one in eight without text, some numerics and categories missing."""
    rng = np.random.default_rng(seed)
    vectors = {name: rng.normal(size=(n, width)).astype(np.float32) for name, width in WIDTHS.items()}
    present = (rng.random(n) > 0.12).astype(np.float32)
    vectors["text"] *= present[:, None]
    log_subscribers = rng.normal(8, 2, n)
    country = rng.choice(["US", "DE", "IN", "BR"], n)
    metadata = pd.DataFrame(
        {
            "subscribers": np.where(rng.random(n) < 0.05, np.nan, np.expm1(np.abs(log_subscribers))),
            "duration": rng.uniform(5, 60, n),
            "is_short": (rng.random(n) < 0.5).astype(np.float64),
            "country": pd.Series(np.where(rng.random(n) < 0.05, None, country), dtype=object),
            "language": pd.Series(rng.choice(["en", "de"], n), dtype=object),
        }
    )
    target = 6 + 0.5 * (log_subscribers - 8) + (country == "US") + vectors["video"][:, 0] + vectors["text"][:, 0]
    fused = np.hstack([*vectors.values(), present[:, None]])
    return Videos(ModelInputs(metadata, present, fused, **vectors), target.astype(np.float32))


def make_options(**changes) -> FitOptions:
    """Options of a short CPU fit on one thread."""
    values = {
        "numeric_cols": NUMERIC,
        "categorical_cols": CATEGORICAL,
        "feature_set": FeatureSet.V3,
        "seed": 7,
        "device": Device.CPU,
        "threads": 1,
        "max_epochs": 3,
        "patience": 3,
        "projector_dim": 8,
    }
    return FitOptions(**(values | changes))


@pytest.fixture(scope="session")
def videos():
    return make_videos(200)


@pytest.fixture(scope="session")
def options():
    return make_options


@pytest.fixture
def new_videos():
    return make_videos
