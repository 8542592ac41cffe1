"""Pool, weight and time limit of every task, and the sizes of the pools."""

import os
from datetime import timedelta

import pytest

from clipfarm_tasks.contracts import TuningParams
from clipfarm_tasks.deployment.scheduling import CPU_POOL, DEFAULT_ARGS, DEFAULT_POOL, GPU_POOL, pool_sizes, slot_of
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import PRESETS, Family, Strategy
from clipfarm_tasks.steps.catalog import STEPS

LIGHT = {"resolve_run", "leaderboard", "gate", "delete_pods", "check_freshness", "plan_study"}
TUNING = {"plan_study", "run_trials", "publish_preset"}
NO_STEPS = {"resolve_run", "delete_pods", "maintain", "check_freshness"} | TUNING
TASKS = sorted(set(STEPS) | NO_STEPS)
FIRST = next(iter(Strategy))
IN_PODS = {"CLIPFARM_TRAIN_BACKEND": "kubernetes", "CLIPFARM_POD_IMAGE": "clipfarm-trainer:1.0.0"}


@pytest.fixture
def environment(monkeypatch):
    """Set variables of the deployment for this test."""

    def set_all(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


def limit_of(params, name):
    return params.model_json_schema()["properties"][name]["maximum"]


def families():
    return [(strategy, family) for strategy in Strategy for family in Family]


def test_every_task_has_a_slot_and_an_end():
    assert len(TASKS) == 20
    for task in TASKS:
        strategy, family = (Strategy.CONCAT, Family.RIDGE) if task == "train" else (None, None)
        slot = slot_of(task, strategy, family)
        assert set(slot) == {"pool", "priority_weight", "execution_timeout"}
        assert slot["pool"] == (DEFAULT_POOL if task in LIGHT else CPU_POOL), task
        most = (
            timedelta(minutes=limit_of(TuningParams, "minutes"), hours=4)
            if task == "run_trials"
            else timedelta(hours=4)
        )
        assert timedelta(hours=1) <= slot["execution_timeout"] <= most, task


def test_what_feeds_jobs_goes_before_them_and_upkeep_after_them():
    jobs = [slot_of("train", *each)["priority_weight"] for each in families()]
    others = {task: slot_of(task)["priority_weight"] for task in TASKS if task != "train"}
    upkeep, baselines = (
        [others.pop(task) for task in ("maintain", "run_trials", "publish_preset")],
        others.pop("baselines"),
    )
    assert max(upkeep) < baselines < max(jobs)
    assert max(upkeep) < min(jobs) <= max(jobs) < min(others.values())
    assert DEFAULT_ARGS["weight_rule"] == "absolute"  # so that these are the numbers the scheduler sorts by


def test_the_first_job_of_a_shared_family_goes_before_all_jobs_and_the_others_last():
    shared = {Family.GATED_FUSION_MLP, Family.KERNEL}
    weights = {each: slot_of("train", *each)["priority_weight"] for each in families()}
    first = {weight for (strategy, family), weight in weights.items() if (strategy, family in shared) == (FIRST, True)}
    later = {weight for (strategy, family), weight in weights.items() if family in shared and strategy != FIRST}
    rest = {weight for (_, family), weight in weights.items() if family not in shared}
    assert max(later) < min(rest) <= max(rest) < min(first)


def test_jobs_that_train_here_take_a_core_whatever_they_would_ask_of_a_pod():
    assert {slot_of("train", *each)["pool"] for each in families()} == {CPU_POOL}


def test_pods_with_a_gpu_wait_for_one_and_pods_without_do_not(environment):
    environment(IN_PODS)
    pools = {family: slot_of("train", Strategy.CONCAT, family)["pool"] for family in Family}
    assert pools == {family: GPU_POOL if PRESETS[family].needs.gpu else CPU_POOL for family in Family}
    assert set(pools.values()) == {GPU_POOL, CPU_POOL}
    environment({"CLIPFARM_POD_GPUS": "0"})
    assert {slot_of("train", *each)["pool"] for each in families()} == {CPU_POOL}
    environment({"CLIPFARM_POD_GBDT_GPUS": "1"})
    assert slot_of("train", Strategy.CONCAT, Family.GBDT)["pool"] == GPU_POOL


def test_wrong_settings_of_the_pods_are_refused_when_a_job_is_drawn(environment):
    environment(IN_PODS | {"CLIPFARM_POD_GPUS": "-1"})
    with pytest.raises(ConfigError, match="CLIPFARM_POD_GPUS"):
        slot_of("train", Strategy.CONCAT, Family.RIDGE)


def test_pools_are_as_large_as_the_machine_unless_told_otherwise(environment):
    cores = len(os.sched_getaffinity(0))
    assert pool_sizes({}) == pool_sizes({"CLIPFARM_CPU_SLOTS": ""}) == {CPU_POOL: cores, GPU_POOL: 1}
    assert pool_sizes({"CLIPFARM_CPU_SLOTS": "48", "CLIPFARM_GPU_SLOTS": "6"}) == {CPU_POOL: 48, GPU_POOL: 6}
    environment({"CLIPFARM_CPU_SLOTS": "7"})
    assert pool_sizes() == {CPU_POOL: 7, GPU_POOL: 1}


@pytest.mark.parametrize("variable", ["CLIPFARM_CPU_SLOTS", "CLIPFARM_GPU_SLOTS"])
@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", " "])
def test_a_pool_without_slots_is_refused(variable, text):
    with pytest.raises(ConfigError, match=f"expected {variable} to be a whole number of 1 or more, got '{text}'"):
        pool_sizes({variable: text})
