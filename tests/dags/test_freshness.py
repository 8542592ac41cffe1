"""The hourly freshness DAG."""

import sys
import types

import pytest


@pytest.fixture
def freshness(dags):
    return dags["clipfarm_freshness"]


def test_every_hour_beside_the_full_one(freshness):
    # Not on the hour: the training run is due then, and one that has just ended is to count.
    assert freshness.timetable.expression == "30 * * * *"
    assert freshness.tags == {"clipfarm", "freshness"}
    assert freshness.task_ids == ["check_freshness"]
    assert list(freshness.params) == []


def test_it_waits_for_no_core(freshness):
    assert freshness.get_task("check_freshness").pool == "default_pool"


def test_the_task_calls_the_runtime(freshness, monkeypatch):
    body = freshness.get_task("check_freshness").python_callable
    monkeypatch.setitem(
        sys.modules, "clipfarm_runtime", types.SimpleNamespace(run_freshness_check=lambda: {"run_id": "r"})
    )
    assert body() == {"run_id": "r"}
