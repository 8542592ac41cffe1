"""A study in the bucket, and how a worker takes part in it: any number of them, at any time, until the budget is used.

What a worker does, it knows from the journal: which trials there are, and which of them were given up. So a study goes
on where it stopped, whoever was killed.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import PRESETS, Family, NeuralPreset
from clipfarm_tasks.storage import Store
from clipfarm_tasks.tuning.journal import StoreJournal
from clipfarm_tasks.tuning.space import suggested, values_of_code

log = logging.getLogger(__name__)
_OF_CODE = {"preset": "code"}  # attribute of the trial with the preset of the code
_FIRST_PRUNED_EPOCH = 3

Score = Callable[[Trial, dict[str, float]], float]
"""The val RMSE in log space of a trial with these values; may raise `optuna.TrialPruned`."""


@dataclass(frozen=True)
class Budget:
    """What a study may cost. The trial with the preset of the code is run whatever is left.

    Attributes:
        trials: trials of all workers that end well or are pruned; one that died is made up for.
        minutes: for which each worker starts trials; one that is running is left to end.
        stale_minutes: a trial that runs for longer, and for three times as long as any that has ended, is dead.
    """

    trials: int
    minutes: float
    stale_minutes: float


def is_prunable(family: Family) -> bool:
    """Whether a fit tells how it goes: epochs do, and a fit of any other kind says nothing until it has ended."""
    return isinstance(PRESETS[family].hyperparams, NeuralPreset)


def open_study(store: Store, name: str, family: Family) -> optuna.Study:
    """The study of this name, made where there is none.

    Raises:
        DataError: a record of its journal is damaged.
        TransientError: the server cannot be reached.
    """
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_warmup_steps=_FIRST_PRUNED_EPOCH)
    return optuna.create_study(
        storage=JournalStorage(StoreJournal(store, name)),
        study_name=name,
        direction="minimize",
        pruner=pruner if is_prunable(family) else optuna.pruners.NopPruner(),
        load_if_exists=True,
    )


def find_study(store: Store, name: str) -> optuna.Study:
    """The study of this name.

    Raises:
        DataError: there is none, or a record of its journal is damaged.
        TransientError: the server cannot be reached.
    """
    try:
        return optuna.load_study(storage=JournalStorage(StoreJournal(store, name)), study_name=name)
    except KeyError as error:
        raise DataError(f"expected the study {name}, got none: run its trials first, with the same code") from error


def take_part(study: optuna.Study, family: Family, budget: Budget, seed: int, score: Score) -> int:
    """Run trials until the budget is used; returns how many this worker has ended.

    The first trial of a study has the preset of the code, so that what is found is compared with it.

    What a trial suggests follows from ``seed``, its number and the trials before it: with one worker a study can be
    repeated.

    Raises:
        ClipfarmError: what the score raises; but other values than those of the code that no model can be fitted with
            are a pruned trial.
    """
    deadline = datetime.now(UTC) + timedelta(minutes=budget.minutes)
    _give_up_the_dead(study, budget)
    if trial_of_code(study, TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING) is None:
        study.enqueue_trial(values_of_code(family), user_attrs=_OF_CODE)
    ended = 0
    while (trial := _next_trial(study, budget, deadline)) is not None:
        study.sampler = optuna.samplers.TPESampler(seed=seed + trial.number)
        values = suggested(trial, family)
        try:
            ended += _judge(study, trial, values, score)
        except UpdateFinishedTrialError:
            _log_given_up(trial)
        except BaseException:  # also a task that is stopped: its trial would count as running until it is stale
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            raise
    return ended


def trial_of_code(study: optuna.Study, *states: TrialState) -> FrozenTrial | None:
    """The trial with the preset of the code, in one of these states."""
    return next((trial for trial in study.get_trials(deepcopy=False, states=states) if has_preset_of_code(trial)), None)


def has_preset_of_code(trial: Trial | FrozenTrial) -> bool:
    """Whether it is the trial that the others are compared with, which is therefore never pruned."""
    return _OF_CODE.items() <= trial.user_attrs.items()


def _judge(study: optuna.Study, trial: Trial, values: dict[str, float], score: Score) -> bool:
    """Run a trial; whether it was still wanted when it ended."""
    found = None
    try:
        found = score(trial, values)
        log.info("trial %d: val RMSE %.4f, with %s", trial.number, found, values)
    except optuna.TrialPruned:
        log.info("trial %d: pruned, with %s", trial.number, values)
    except (DataError, ValueError) as error:  # a fit that diverges, a matrix that is singular
        if has_preset_of_code(trial):
            raise
        log.warning("trial %d: no score, with %s: %s", trial.number, values, error)
    state = TrialState.PRUNED if found is None else None
    told = study.tell(trial, found, state=state, skip_if_finished=True)
    if told.state is TrialState.FAIL:
        _log_given_up(trial)
    return told.state is not TrialState.FAIL


def _log_given_up(trial: Trial) -> None:
    log.warning("trial %d took so long that another worker has given it up", trial.number)


def _next_trial(study: optuna.Study, budget: Budget, deadline: datetime) -> Trial | None:
    """A trial that this worker is to run; None when the budget is used."""
    # Only the trial with the preset of the code is ever waiting.
    is_code_waiting = bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))
    if not is_code_waiting and (datetime.now(UTC) > deadline or len(_not_failed(study)) >= budget.trials):
        return None
    trial = study.ask()
    before = sum(other.number < trial.number for other in _not_failed(study))
    if before >= budget.trials and not has_preset_of_code(trial):
        study.tell(trial, state=TrialState.FAIL)  # other workers took the last places at the same moment
        return None
    return trial


def _not_failed(study: optuna.Study) -> list[FrozenTrial]:
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.WAITING)
    return study.get_trials(deepcopy=False, states=states)


def _give_up_the_dead(study: optuna.Study, budget: Budget) -> None:
    """Mark trials as failed whose worker must have been killed: nobody else would."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    longest = max((trial.duration for trial in complete if trial.duration), default=timedelta())
    latest = datetime.now(UTC) - max(timedelta(minutes=budget.stale_minutes), 3 * longest)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.datetime_start and trial.datetime_start.astimezone() < latest:
            log.warning("trial %d has been running since %s and is given up", trial.number, trial.datetime_start)
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
