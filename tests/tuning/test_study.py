"""How workers share a study: its budget, its dead, and the trial with the preset of the code."""

import multiprocessing
import os
import signal
import threading

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from clipfarm_tasks.errors import DataError, TransientError
from clipfarm_tasks.families import Family
from clipfarm_tasks.storage import open_store
from clipfarm_tasks.tuning.space import values_of_code
from clipfarm_tasks.tuning.study import Budget, is_prunable, open_study, take_part, trial_of_code

BUDGET = Budget(trials=6, minutes=60, stale_minutes=60)
FAMILY = Family.GBDT
NAME = "a-study"


def score(trial, values):
    """A bowl, whose bottom is away from the preset of the code."""
    return 1 + (np.log(values["learning_rate"] / 0.1)) ** 2 + (values["max_features"] - 0.8) ** 2


def work(store, budget=BUDGET, score=score, family=FAMILY):
    return take_part(open_study(store, NAME, family), family, budget, 7, score)


def states(store, family=FAMILY):
    return [trial.state for trial in open_study(store, NAME, family).trials]


def test_a_study_runs_as_many_trials_as_asked_and_the_first_has_the_preset_of_the_code(store):
    assert work(store) == 6
    study = open_study(store, NAME, FAMILY)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 6
    assert study.trials[0].params == values_of_code(FAMILY)
    assert trial_of_code(study, TrialState.COMPLETE).number == 0
    for trial in study.trials:
        assert trial.value == pytest.approx(score(trial, trial.params))
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 6
    assert work(store) == 0


def test_a_larger_budget_goes_on_and_is_as_if_it_had_been_asked_for_at_once(store):
    for trials in (3, 14):
        work(store, Budget(trials, 60, 60))
    halves = [trial.params for trial in open_study(store, NAME, FAMILY).trials]
    study = open_study(store, "at-once", FAMILY)
    take_part(study, FAMILY, Budget(14, 60, 60), 7, score)
    assert halves == [trial.params for trial in study.trials]
    other = open_study(store, "another-seed", FAMILY)
    take_part(other, FAMILY, Budget(3, 60, 60), 8, score)
    assert other.trials[0].params == halves[0]
    assert other.trials[1].params != halves[1]


def test_three_workers_at_once_run_as_many_trials_as_asked_for(bucket, s3_session):
    budget, start, ended = Budget(18, 60, 60), threading.Barrier(3), []

    def worker():
        store = open_store(bucket, s3_session)
        start.wait()
        ended.append(work(store, budget))

    threads = [threading.Thread(target=worker) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    study = open_study(open_store(bucket, s3_session), NAME, FAMILY)
    done = [trial for trial in study.trials if trial.state is TrialState.COMPLETE]
    assert len(done) == sum(ended) == 18
    assert {trial.state for trial in study.trials} <= {TrialState.COMPLETE, TrialState.FAIL}
    assert study.trials[0].params == values_of_code(FAMILY)
    searched = [tuple(trial.params.values()) for trial in done if not trial.user_attrs]
    assert len(set(searched)) == len(searched)


def test_minutes_are_those_of_a_worker_and_the_preset_of_the_code_is_run_whatever_they_are(store):
    used_up = Budget(6, -1, 60)
    assert work(store, used_up) == 1
    assert work(store, used_up) == 0
    assert work(store, Budget(6, 60, 60)) == 5


def test_the_preset_of_the_code_is_run_also_when_all_places_are_taken(store):
    def dies_while_another_takes_all_places(trial, values):
        assert work(store) == 5
        raise TransientError("out of memory")

    with pytest.raises(TransientError):
        work(store, score=dies_while_another_takes_all_places)
    assert work(store) == 1
    assert trial_of_code(open_study(store, NAME, FAMILY), TrialState.COMPLETE).number == 6
    assert work(store) == 0


def test_the_preset_of_the_code_has_to_be_fitted(store):
    with pytest.raises(DataError, match="expected a target"):
        work(store, score=failing(DataError("expected a target")))
    assert states(store) == [TrialState.FAIL]


def killed_in_its_second_trial(settings):
    def die(trial, values):
        if trial.number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return score(trial, values)

    work(open_store(settings), score=die)


@pytest.fixture
def killed(store, bucket, s3_server, monkeypatch):
    """A study whose only worker was killed."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    process = multiprocessing.get_context("spawn").Process(target=killed_in_its_second_trial, args=(bucket,))
    process.start()
    process.join(600)
    assert process.exitcode == -signal.SIGKILL
    assert states(store) == [TrialState.COMPLETE, TrialState.RUNNING]


def test_the_study_of_a_killed_worker_goes_on_and_its_trial_is_made_up_for_once_it_is_stale(store, killed):
    assert work(store) == 4  # for now, the dead one counts as running
    assert states(store).count(TrialState.RUNNING) == 1
    assert work(store, Budget(6, 60, 0)) == 1
    assert states(store).count(TrialState.COMPLETE) == 6
    assert states(store)[1] is TrialState.FAIL


def test_the_preset_of_the_code_is_tried_again_where_its_trial_died(store):
    with pytest.raises(TransientError):
        work(store, score=failing(TransientError("out of memory")))
    assert states(store) == [TrialState.FAIL]
    assert work(store) == 6
    study = open_study(store, NAME, FAMILY)
    assert trial_of_code(study, TrialState.COMPLETE).number == 1
    assert states(store).count(TrialState.COMPLETE) == 6


def failing(error):
    def fail(trial, values):
        raise error

    return fail


def test_a_fit_that_diverges_counts_and_ends_nothing(store):
    def some(trial, values):
        if trial.number % 2:
            raise (DataError if trial.number == 1 else np.linalg.LinAlgError)("expected a finite validation loss")
        return score(trial, values)

    assert work(store, score=some) == 6
    assert states(store) == [TrialState.COMPLETE, TrialState.PRUNED] * 3


def test_a_trial_that_was_given_up_while_it_ran_changes_nothing(store):
    def slow(trial, values):
        if trial.number == 2:
            open_study(store, NAME, FAMILY).tell(2, state=TrialState.FAIL)
        return score(trial, values)

    work(store, score=slow)
    assert states(store)[2] is TrialState.FAIL
    assert states(store).count(TrialState.COMPLETE) == 6


def test_a_neural_trial_that_does_worse_is_pruned_and_others_are_not(store):
    def by_epoch(trial, values):
        level = 1.0 if trial.number < 8 else 10.0
        for epoch in range(1, 11):
            trial.report(level, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return level

    families = {family for family in Family if is_prunable(family)}
    assert families == {Family.CONCAT_MLP, Family.GATED_FUSION_MLP, Family.TABM}
    work(store, Budget(10, 60, 60), by_epoch, Family.CONCAT_MLP)
    study = open_study(store, NAME, Family.CONCAT_MLP)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 8 + [TrialState.PRUNED] * 2
    assert all(trial.last_step >= 3 for trial in study.trials)
    assert study.trials[-1].last_step < 10
