import itertools

import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.config import RunParams
from clipfarm_tasks.families import DEFAULT_FAMILIES, Family, Horizon, Strategy
from clipfarm_tasks.graph import all_tasks, tasks_of
from clipfarm_tasks.steps.catalog import STEPS

SELECTIONS = [
    {},
    {"strategies": ["sum_pool"], "horizons": [30], "models": ["gbdt"]},
    {"strategies": ["concat", "max_pool"]},
    {"models": ["ridge", "gated_fusion_mlp"], "horizons": [7]},
    {"models": list(Family)},
]


def by_id(values):
    return {task.id: task for task in tasks_of(RunParams.parse(values))}


@pytest.mark.parametrize("values", SELECTIONS)
def test_order_is_valid_and_ids_are_unique(values):
    tasks = tasks_of(RunParams.parse(values))
    position = {task.id: index for index, task in enumerate(tasks)}
    assert len(position) == len(tasks)
    edges = [(name, task.id) for task in tasks for name in (*task.needs, *task.after)]
    assert all(position[before] < position[after] for before, after in edges)


@pytest.mark.parametrize("values", SELECTIONS)
def test_ids_and_selectors_are_those_of_the_steps(values):
    for task in tasks_of(RunParams.parse(values)):
        assert task.id == keys.task_id(task.step, task.strategy, task.horizon, task.family)
        takes = STEPS[task.step]
        given = (task.strategy is not None, task.horizon is not None, task.family is not None)
        assert given == (takes.strategy, takes.horizon, takes.family)


def test_whole_graph():
    tasks = by_id({})
    pairs = [f"{strategy}_{int(horizon)}d" for strategy, horizon in itertools.product(Strategy, Horizon)]
    assert set(tasks) == {
        "scan_metadata",
        "filter_metadata_7d",
        "filter_metadata_30d",
        "split_videos_7d",
        "split_videos_30d",
        *(f"{step}_{strategy}" for step in ("resolve_manifest", "reconstruct_fused") for strategy in Strategy),
        "reconstruct_modalities",
        "baselines_7d",
        "baselines_30d",
        *(f"{pair}.{step}" for pair in pairs for step in ("build_split", "ensemble", "publish_snapshot")),
        *(f"{pair}.train_{family}" for pair in pairs for family in DEFAULT_FAMILIES),
        "leaderboard",
        "gate",
    }
    assert len(tasks) == 58  # the 59th, resolve_run, comes before there is a graph


def test_edges():
    tasks = by_id({})
    pair = "max_pool_30d"
    assert (tasks["scan_metadata"].needs, tasks["scan_metadata"].after) == ((), ())
    assert {tasks[f"filter_metadata_{days}d"].needs for days in (7, 30)} == {("scan_metadata",)}
    assert {tasks[f"split_videos_{days}d"].needs for days in (7, 30)} == {
        ("filter_metadata_7d",),
        ("filter_metadata_30d",),
    }
    assert tasks["reconstruct_fused_concat"].needs == ("resolve_manifest_concat",)
    assert set(tasks["reconstruct_modalities"].after) == {f"resolve_manifest_{strategy}" for strategy in Strategy}
    assert tasks["reconstruct_modalities"].needs == ()
    assert set(tasks[f"{pair}.build_split"].needs) == {
        "split_videos_30d",
        "reconstruct_fused_max_pool",
        "reconstruct_modalities",
    }
    for family in DEFAULT_FAMILIES:
        assert tasks[f"{pair}.train_{family}"].needs == (f"{pair}.build_split",)
    jobs = {f"{pair}.train_{family}" for family in DEFAULT_FAMILIES}
    assert set(tasks[f"{pair}.ensemble"].needs) == jobs
    assert set(tasks[f"{pair}.publish_snapshot"].needs) == jobs | {f"{pair}.ensemble"}
    baselines = ("baselines_7d", "baselines_30d")
    assert set(tasks["baselines_30d"].needs) == {"split_videos_30d", "reconstruct_modalities"}
    # Every job and every publication: what has failed early leaves others that still train.
    assert sorted(tasks["leaderboard"].after) == sorted(
        name
        for name in tasks
        if ".train_" in name or name.endswith((".ensemble", ".publish_snapshot")) or name in baselines
    )
    assert len(tasks["leaderboard"].after) == 24 + 6 + 6 + 2
    assert tasks["leaderboard"].needs == ()
    assert (tasks["gate"].needs, tasks["gate"].after) == (("leaderboard",), ())


def test_airflow_draws_what_any_run_may_ask_for():
    drawn = {task.id: task for task in all_tasks()}
    assert len(drawn) == 70
    for values in SELECTIONS:
        for task in tasks_of(RunParams.parse(values)):
            assert {*task.needs} <= {*drawn[task.id].needs}
            assert {*task.after} <= {*drawn[task.id].after}


def test_reduced_selection_leaves_out_everything_else():
    assert list(by_id({"strategies": ["sum_pool"], "horizons": [30], "models": ["gbdt"]})) == [
        "scan_metadata",
        "filter_metadata_30d",
        "split_videos_30d",
        "resolve_manifest_sum_pool",
        "reconstruct_fused_sum_pool",
        "reconstruct_modalities",
        "baselines_30d",
        "sum_pool_30d.build_split",
        "sum_pool_30d.train_gbdt",
        "sum_pool_30d.publish_snapshot",
        "leaderboard",
        "gate",
    ]
