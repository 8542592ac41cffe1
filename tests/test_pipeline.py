"""The order and the fate of tasks, first with stand-ins for the steps, then with real processes."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from clipfarm_tasks import keys, pipeline
from clipfarm_tasks.config import RunParams
from clipfarm_tasks.errors import DataError, MissingObjectError, TransientError
from clipfarm_tasks.families import Strategy
from clipfarm_tasks.graph import tasks_of
from clipfarm_tasks.pipeline import State, run_tasks
from clipfarm_tasks.sample.write import write_sample
from clipfarm_tasks.steps.resolve_run import resolve_run

ALL = RunParams()
SMALL = {"strategies": ["concat", "max_pool"], "horizons": [7], "models": ["ridge"]}


class Steps:
    """Stands in for the steps: remembers who ran, fails whom it is told to."""

    def __init__(self, failing=None):
        self.failing = failing or {}
        self.started = []
        self.ended = []
        self.together = 0
        self.most_together = 0
        self._lock = threading.Lock()

    def __call__(self, task, settings, run_id):
        with self._lock:
            self.started.append((task.id, set(self.ended)))
            self.together += 1
            self.most_together = max(self.most_together, self.together)
        time.sleep(0.002)
        with self._lock:
            self.together -= 1
            self.ended.append(task.id)
        if task.id in self.failing:
            raise self.failing[task.id]


@pytest.fixture
def simulate(monkeypatch):
    """Run the whole graph in threads, with ``steps`` in place of the real ones."""
    monkeypatch.setattr(pipeline, "ProcessPoolExecutor", lambda workers, **_: ThreadPoolExecutor(workers))

    def start(steps, params=ALL, workers=4):
        monkeypatch.setattr(pipeline, "_execute", steps)
        seen = []
        outcome = run_tasks(
            None, "r", params, workers, lambda task, state, message: seen.append((task.id, state, message))
        )
        return outcome, seen

    return start


def test_every_task_runs_once_and_after_what_it_needs(simulate):
    steps = Steps()
    outcome, seen = simulate(steps)
    assert outcome.complete
    assert len(steps.started) == len(outcome.states) == len(tasks_of(RunParams()))
    before = dict(steps.started)
    for task in tasks_of(ALL):
        assert {*task.needs, *task.after} <= before[task.id]
    assert sorted(name for name, state, _ in seen if state is State.SUCCESS) == sorted(before)
    assert 1 < steps.most_together <= 4


def test_one_worker_runs_one_task_at_a_time(simulate):
    steps = Steps()
    assert simulate(steps, workers=1)[0].complete
    assert steps.most_together == 1


def test_failed_task_stops_its_dependents_and_nobody_else(simulate):
    error = DataError("expected a, got b, in c")
    gate = DataError("missing")
    steps = Steps({"reconstruct_fused_sum_pool": error, "gate": gate})
    outcome, seen = simulate(steps)
    failed = {name for name, state in outcome.states.items() if state is State.UPSTREAM_FAILED}
    assert failed == {task.id for task in tasks_of(ALL) if task.strategy is Strategy.SUM_POOL and task.horizon}
    assert outcome.errors == {"reconstruct_fused_sum_pool": error, "gate": gate}
    assert not outcome.complete
    assert not failed & {name for name, _ in steps.started}
    done = {name for name, state in outcome.states.items() if state is State.SUCCESS}
    assert done == {task.id for task in tasks_of(ALL)} - failed - set(outcome.errors)
    assert "leaderboard" in done
    assert ("reconstruct_fused_sum_pool", State.FAILED, "DataError: expected a, got b, in c") in seen


def test_missing_manifest_lets_the_modalities_go_on(simulate):
    outcome, _ = simulate(Steps({"resolve_manifest_concat": MissingObjectError("gone")}))
    assert outcome.states["reconstruct_modalities"] is State.SUCCESS
    assert outcome.states["reconstruct_fused_concat"] is State.UPSTREAM_FAILED
    assert outcome.states["max_pool_30d.publish_snapshot"] is State.SUCCESS


def test_failed_metadata_still_ends_in_a_leaderboard(simulate):
    failing = {f"filter_metadata_{days}d": DataError("x") for days in (7, 30)}
    outcome, _ = simulate(Steps(failing | {"gate": DataError("all missing")}))
    assert outcome.states["leaderboard"] is State.SUCCESS
    assert outcome.states["gate"] is State.FAILED
    assert outcome.states["concat_7d.train_ridge"] is State.UPSTREAM_FAILED


def test_error_that_is_none_of_ours_fails_only_its_task(simulate):
    outcome, _ = simulate(Steps({"concat_7d.train_ridge": ZeroDivisionError("oops")}))
    assert outcome.states["concat_7d.train_ridge"] is State.FAILED
    assert outcome.states["concat_7d.train_gbdt"] is State.SUCCESS
    assert outcome.states["concat_7d.publish_snapshot"] is State.UPSTREAM_FAILED


@pytest.fixture
def sample(store, bucket, s3_server, monkeypatch):
    """A bucket with a sample, and the environment in which worker processes find it."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    write_sample(store, videos=40, width=8)
    return store


def test_missing_manifest_of_one_strategy_end_to_end(sample, bucket):
    """The other strategy is published, the leaderboard tells what is missing, the gate fails and names it."""
    sample.delete([keys.fused_manifest(Strategy.MAX_POOL)])
    params = RunParams.parse(SMALL)
    record = resolve_run(sample, SMALL, "r")
    outcome = run_tasks(bucket, record.run_id, params, 1, lambda *_: None)
    assert {name for name, state in outcome.states.items() if state is State.FAILED} == {
        "resolve_manifest_max_pool",
        "gate",
    }
    missing = outcome.errors["resolve_manifest_max_pool"]
    assert isinstance(missing, FileNotFoundError)
    assert keys.fused_manifest(Strategy.MAX_POOL) in str(missing)
    assert "missing: max_pool_7d.train_ridge, max_pool_7d.publish_snapshot" in str(outcome.errors["gate"])
    assert outcome.states["concat_7d.publish_snapshot"] is State.SUCCESS
    assert outcome.states["max_pool_7d.train_ridge"] is State.UPSTREAM_FAILED


def test_killed_worker_fails_its_tasks_and_the_rest_goes_on(sample, bucket):
    """As the kernel does when memory runs out; repeated, the run completes."""
    record = resolve_run(sample, SMALL, "r")
    params = RunParams.parse(SMALL)
    killed = []

    def kill_once(task, state, _message):
        if task.step == "reconstruct_modalities" and state is State.RUNNING and not killed:
            workers = [process.pid for process in pipeline.multiprocessing.active_children()]
            killed.extend(workers)
            for pid in workers:
                os.kill(pid, signal.SIGKILL)

    outcome = run_tasks(bucket, record.run_id, params, 2, kill_once)
    assert killed
    assert not outcome.complete
    broken = [error for name, error in outcome.errors.items() if name != "gate"]
    assert all(isinstance(error, TransientError) for error in broken)
    assert "killed" in str(broken[0])
    assert outcome.states["leaderboard"] is State.SUCCESS
    assert run_tasks(bucket, record.run_id, params, 1, lambda *_: None).complete
