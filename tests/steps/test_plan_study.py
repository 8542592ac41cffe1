"""Which run is tuned on, and who takes part."""

import json
from collections import Counter

import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.config import RunParams
from clipfarm_tasks.errors import ConfigError, MissingObjectError
from clipfarm_tasks.families import Family
from clipfarm_tasks.steps.plan_study import plan_study


@pytest.fixture
def leave(store):
    """A run that was resolved on a day of March; the gate of a complete one has left its record."""

    def put(run_id, day, *, task="gate", **asked):
        params = RunParams().model_dump(mode="json") | asked
        content = {"resolved_at": f"2026-03-{day:02d}T00:00:00+00:00", "params": params}
        store.put(keys.run_config(run_id), json.dumps(content).encode())
        store.put(keys.run_record(run_id, task), b"{}")

    return put


def test_the_newest_complete_run_that_has_the_pair(store, leave):
    leave("oldest", 1)
    leave("newest-of-the-pair", 2, models=["ridge"])
    leave("other-horizon", 3, horizons=[30])
    leave("other-strategy", 4, strategies=["sum_pool"])
    leave("unfinished", 5, task="leaderboard")
    jobs = plan_study(store, {"models": ["gbdt", "ridge"], "workers": 3})
    assert {job.run_id for job in jobs} == {"newest-of-the-pair"}
    assert Counter(job.family for job in jobs) == {Family.GBDT: 3, Family.RIDGE: 3}
    assert {job.family for job in jobs[:2]} == {Family.GBDT, Family.RIDGE}
    assert plan_study(store, {"horizon": 30})[0].run_id == "other-horizon"


def test_without_such_a_run_the_message_names_the_pair(store, leave):
    leave("r", 1, strategies=["concat"])
    with pytest.raises(
        MissingObjectError, match=r"complete run of max_pool, horizon 7 days, got none, in s3://.*/runs/"
    ):
        plan_study(store, {"strategy": "max_pool"})


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"trials": 0, "minutes": 241}, "tuning parameters: trials: .*got 0; minutes: .*got 241"),
        ({"models": ["forest"]}, "tuning parameters: models.0: .*'forest'"),
        ({"seed": 1}, "tuning parameters: seed: Extra inputs"),
    ],
)
def test_wrong_params_are_refused(store, params, problem):
    with pytest.raises(ConfigError, match=problem):
        plan_study(store, params)


def test_families_that_train_in_pods_are_left_out(store, leave, monkeypatch):
    leave("r", 1)
    monkeypatch.setenv("CLIPFARM_TRAIN_BACKEND", "auto")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert {job.family for job in plan_study(store, {})} == {Family.RIDGE, Family.GBDT}
    monkeypatch.setenv("CLIPFARM_TRAIN_BACKEND", "kubernetes")
    with pytest.raises(ConfigError, match="expected a family that trains in workers, got .*: all train in pods"):
        plan_study(store, {})
