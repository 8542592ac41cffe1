"""A run over a small bucket up to the split of its pair: what a study needs."""

import numpy as np
import pytest

from clipfarm_tasks.families import Horizon, Strategy
from tests.steps.conftest import Run, Upstream

PAIR = (Strategy.CONCAT, Horizon.D7)


@pytest.fixture
def upstream(store):
    upstream = Upstream(store, videos=200)
    # Countries from common to rare, and views that depend on them: how many are pooled makes a difference to ridge.
    number = np.random.default_rng(3).geometric(0.2, 200)
    upstream.metadata["channel_country"] = np.tile([f"C{each}" for each in number], 2)
    upstream.metadata["horizon_view_count"] *= np.tile(1 + number % 7, 2)
    return upstream


@pytest.fixture
def run(store, bucket):
    return Run(store, bucket)


@pytest.fixture
def prepared(upstream, run):
    """The run, whose split of `PAIR` is built."""
    upstream.upload()
    run.resolve()
    run.splits()
    return run
