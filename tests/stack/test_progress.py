import io

import pytest
from rich.console import Console

from clipfarm_tasks.stack.airflow_client import TaskState
from clipfarm_tasks.stack.progress import TaskProgress, group_of

IDS = (
    "resolve_run",
    "filter_metadata_7d",
    "filter_metadata_30d",
    "concat_7d.train_ridge",
    "concat_7d.train_gbdt",
    "gate",
)


def tasks(*states):
    return [
        TaskState(task_id, state, 1, 2.0 if state == "success" else None)
        for task_id, state in zip(IDS, states, strict=True)
    ]


SEQUENCE = [
    tasks("running", None, None, None, None, None),
    tasks("success", "queued", "running", None, None, None),
    tasks("success", "running", "success", "scheduled", None, None),
    tasks("success", "success", "success", "running", "running", None),
    tasks("success", "success", "success", "failed", "success", "upstream_failed"),
]


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1
        return self.now


def shown(terminal):
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=120, color_system=None)
    with TaskProgress(console, Clock()) as progress:
        for state in SEQUENCE:
            progress.show(state)
    return output.getvalue()


def test_without_a_terminal_each_change_is_one_line_told_once():
    lines = shown(terminal=False).splitlines()
    assert [line.split("  ", 2)[-1].strip() for line in (" ".join(line.split()[2:]) for line in lines)] == [
        "resolve_run: running",
        "resolve_run: success in 2.0 s",
        "filter_metadata_30d: running",
        "filter_metadata_7d: running",
        "filter_metadata_30d: success in 2.0 s",
        "filter_metadata_7d: success in 2.0 s",
        "concat_7d.train_ridge: running",
        "concat_7d.train_gbdt: running",
        "concat_7d.train_ridge: failed",
        "concat_7d.train_gbdt: success in 2.0 s",
        "gate: upstream_failed",
    ]
    assert lines[-1].split()[1] == "6/6"


def test_the_same_state_again_prints_nothing():
    progress = TaskProgress(Console(file=io.StringIO()))
    assert progress.changes(SEQUENCE[0])
    assert progress.changes(SEQUENCE[0]) == []


def test_in_a_terminal_each_group_is_one_line():
    last = shown(terminal=True).rpartition("of 6 tasks")[2].splitlines()
    rows = {line.split()[0]: line for line in last if "/" in line}
    assert list(rows) == ["resolve_run", "filter_metadata", "concat_7d", "gate"]
    assert "2/2" in rows["concat_7d"]
    assert "failed: train_ridge" in rows["concat_7d"]
    assert "1 not run, an earlier task failed" in rows["gate"]


def test_lines_follow_the_graph_in_whatever_order_the_tasks_come():
    output = io.StringIO()
    console = Console(file=output, width=120)
    console.print(TaskProgress(console).table(SEQUENCE[3][::-1]))
    assert [line.split()[0] for line in output.getvalue().splitlines() if "/" in line] == [
        "resolve_run",
        "filter_metadata",
        "concat_7d",
        "gate",
    ]


def test_the_table_names_what_runs_now():
    output = io.StringIO()
    console = Console(file=output, width=120)
    console.print(TaskProgress(console).table(SEQUENCE[3]))
    assert "running: train_ridge, train_gbdt" in output.getvalue()
    assert "3 of 6 tasks" in output.getvalue()


@pytest.mark.parametrize(
    ("task_id", "group"),
    [
        ("concat_7d.train_ridge", "concat_7d"),
        ("resolve_manifest_sum_pool", "resolve_manifest"),
        ("filter_metadata_30d", "filter_metadata"),
        ("scan_metadata", "scan_metadata"),
        ("reconstruct_modalities", "reconstruct_modalities"),
    ],
)
def test_variants_of_a_step_share_a_line(task_id, group):
    assert group_of(task_id) == group
