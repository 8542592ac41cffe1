import pytest

from bench.baseline_job import BaselineJob, Videos
from bench.rows.matrix import scaled
from bench.rows.matrix_runs import own_seconds
from clipfarm_tasks import keys
from clipfarm_tasks.families import Family, Horizon, Strategy


def test_24_jobs_are_made_of_four_measured_ones_and_the_own_time_of_the_others():
    gated = BaselineJob(assembly_s=100.0, training_s=10.0, epochs=3)
    fused = {
        strategy: BaselineJob(assembly_s=seconds, training_s=1.0, epochs=3)
        for strategy, seconds in zip(Strategy, (20.0, 30.0, 40.0), strict=True)
    }
    read_s = dict.fromkeys(Strategy, 0.1)
    task_s = {
        keys.task_id("train", strategy, horizon, family): 0.5
        for strategy in Strategy
        for horizon in Horizon
        for family in Family
    }
    jobs = {"gated": 6 * 110.0, "concat_mlp": 2 * (21.0 + 31.0 + 41.0), "others": 4 * (20.4 + 30.4 + 40.4)}
    assert scaled(task_s, read_s, gated, fused) == pytest.approx(sum(jobs.values()))


def test_a_part_of_the_videos_is_scaled_to_all():
    assert Videos(measured=1_000, all=4_000).scaled(2.5) == 10.0


def test_a_tasks_own_time_leaves_out_its_wait_for_a_process():
    submitted = {"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.0, "late": 20.0}
    ended = {"b": 2.0, "a": 5.0, "c": 6.0, "d": 9.0, "late": 21.0}
    own = {"a": 5.0, "b": 2.0, "c": 4.0, "d": 4.0, "late": 1.0}
    assert own_seconds(submitted, ended, workers=2) == own
    one_by_one = {"a": 1.0, "b": 3.0, "c": 6.0}
    assert own_seconds(dict.fromkeys(one_by_one, 0.0), one_by_one, workers=1) == {"a": 1.0, "b": 2.0, "c": 3.0}
