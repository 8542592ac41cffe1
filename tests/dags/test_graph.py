"""The training graph, compared with one written down by hand, and what holds for each of its tasks."""

import re
from datetime import timedelta

STRATEGIES = ("concat", "sum_pool", "max_pool")
DAYS = ("7d", "30d")
FAMILIES = ("concat_mlp", "gated_fusion_mlp", "ridge", "gbdt", "tabm", "kernel")
SHARED = ("gated_fusion_mlp", "kernel")  # trained once for all strategies
NO_STEPS = {"resolve_run", "delete_pods"}
PAIRS = tuple(f"{strategy}_{days}" for strategy in STRATEGIES for days in DAYS)


def expected_edges():
    edges = {("resolve_run", "scan_metadata")}
    for days in DAYS:
        edges.add(("scan_metadata", f"filter_metadata_{days}"))
        edges.add((f"filter_metadata_{days}", f"split_videos_{days}"))
        edges |= {(f"split_videos_{days}", f"baselines_{days}"), ("reconstruct_modalities", f"baselines_{days}")}
        edges.add((f"baselines_{days}", "leaderboard"))
    for strategy in STRATEGIES:
        edges.add(("resolve_run", f"resolve_manifest_{strategy}"))
        edges.add((f"resolve_manifest_{strategy}", f"reconstruct_fused_{strategy}"))
        edges.add((f"resolve_manifest_{strategy}", "reconstruct_modalities"))
        for days in DAYS:
            pair = f"{strategy}_{days}"
            edges.add((f"split_videos_{days}", f"{pair}.build_split"))
            edges.add((f"reconstruct_fused_{strategy}", f"{pair}.build_split"))
            edges.add(("reconstruct_modalities", f"{pair}.build_split"))
            for family in FAMILIES:
                edges.add((f"{pair}.build_split", f"{pair}.train_{family}"))
                edges.add((f"{pair}.train_{family}", f"{pair}.publish_snapshot"))
                edges.add((f"{pair}.train_{family}", f"{pair}.ensemble"))
                edges.add((f"{pair}.train_{family}", "leaderboard"))
            edges.add((f"{pair}.ensemble", f"{pair}.publish_snapshot"))
            edges.add((f"{pair}.ensemble", "leaderboard"))
            edges.add((f"{pair}.publish_snapshot", "leaderboard"))
    edges.add(("leaderboard", "gate"))
    edges.add(("leaderboard", "delete_pods"))
    return edges


def test_edges_are_exactly_those(dag):
    edges = {(upstream, task.task_id) for task in dag.tasks for upstream in task.upstream_task_ids}
    assert edges == expected_edges()


def test_72_tasks_with_readable_ids(dag):
    assert set(dag.task_ids) == {task for edge in expected_edges() for task in edge}
    assert len(dag.task_ids) == 72


def test_a_failed_gate_fails_the_run(dag):
    # Not only: pods are deleted beside it. Behind it, that task would decide about the run.
    assert {task.task_id for task in dag.leaves} == {"gate", "delete_pods"}
    assert not any(task.is_teardown for task in dag.tasks)  # marked as failed, a run with one ends as a success
    assert dag.get_task("gate").trigger_rule == "all_success"


def test_trigger_rules(dag):
    special = {task.task_id: str(task.trigger_rule.value) for task in dag.tasks if task.trigger_rule != "all_success"}
    some = {f"{pair}.{step}" for pair in PAIRS for step in ("ensemble", "publish_snapshot")}
    assert special == dict.fromkeys(some, "none_failed_min_one_success") | {
        "reconstruct_modalities": "all_done",
        "leaderboard": "all_done",
        "delete_pods": "all_done",
    }


def test_schedule(dag):
    assert dag.timetable.expression == "0 0 * * *"
    assert str(dag.timetable.timezone) in {"UTC", "Timezone('UTC')"}
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    assert dag.dagrun_timeout <= timedelta(days=1)
    assert dag.tags == {"clipfarm", "training"}


def test_each_box_does_what_its_id_says(dag):
    checked = 0
    for task in dag.tasks:
        if task.task_id in NO_STEPS:
            continue
        name, strategy, days, family = task.op_args
        last = name if family is None else f"{name}_{family}"
        expected = {
            (True, True): f"{strategy}_{days}d.{last}",
            (True, False): f"{last}_{strategy}",
            (False, True): f"{last}_{days}d",
            (False, False): last,
        }[strategy is not None, days is not None]
        assert task.task_id == expected
        assert not task.op_kwargs
        assert {type(part) for part in task.op_args} <= {str, int, type(None)}  # nothing that serialises as an object
        checked += 1
    assert checked == 70


def test_the_docs_of_a_box_name_its_file_and_its_command(dag, root):
    checked = 0
    for task in dag.tasks:
        if task.task_id in NO_STEPS:
            continue
        name, strategy, days, family = task.op_args
        file, command = re.fullmatch(r"`(.+?)`; by hand: `python -m clipfarm_tasks step (.+?)`", task.doc_md).groups()
        assert (root / file).is_file()
        options = {"--run-id": "<id>", "--strategy": strategy, "--horizon": days, "--model": family}
        given = [word for option, value in options.items() if value is not None for word in (option, str(value))]
        assert command.split() == [name, *given]
        checked += 1
    assert checked == 70


def test_every_pair_and_family_is_trained_once(dag):
    jobs = [tuple(task.op_args[1:]) for task in dag.tasks if ".train_" in task.task_id]
    assert sorted(jobs) == sorted((s, days, f) for s in STRATEGIES for days in (7, 30) for f in FAMILIES)


def test_the_first_job_that_is_shared_starts_before_all_jobs_and_those_that_share_it_last(dag):
    weights = {task.task_id: task.priority_weight for task in dag.tasks}
    trains = {task_id: weight for task_id, weight in weights.items() if ".train_" in task_id}
    first = {f"concat_{days}.train_{family}" for days in DAYS for family in SHARED}
    others = {task_id for task_id in trains if task_id.endswith(SHARED)} - first
    rest = set(trains) - first - others
    assert min(trains[t] for t in first) > max(trains[t] for t in rest)
    assert max(trains[t] for t in others) < min(trains[t] for t in rest)
    feeding = [weight for task, weight in weights.items() if task not in trains and "baselines" not in task]
    assert min(feeding) > max(trains.values())
    # Absolute, so that the weights compared above are the ones the scheduler sorts by.
    assert {str(task.weight_rule) for task in dag.tasks} == {"absolute"}
