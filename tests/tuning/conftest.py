"""A run over a small bucket up to the split of its pair: what a study needs."""

import pytest

from clipfarm_tasks.families import Horizon, Strategy
from tests.steps.conftest import Run, Upstream

PAIR = (Strategy.CONCAT, Horizon.D7)


@pytest.fixture
def upstream(store):
    return Upstream(store, videos=200)


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
