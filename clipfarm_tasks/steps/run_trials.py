"""Take part in a study until its budget is used: one of any number of workers."""

import logging
from collections import Counter

from clipfarm_tasks.config import Settings
from clipfarm_tasks.contracts import StudyRecord, TuningParams
from clipfarm_tasks.families import Family
from clipfarm_tasks.steps.context import StepContext, load_config
from clipfarm_tasks.steps.study_outcome import study_name
from clipfarm_tasks.steps.trial_score import score_of, selecting_rows
from clipfarm_tasks.storage import Store
from clipfarm_tasks.storage.one_heap import give_back
from clipfarm_tasks.tuning.study import Budget, open_study, take_part

log = logging.getLogger(__name__)


def run_trials(store: Store, settings: Settings, params: TuningParams, run_id: str, family: Family) -> StudyRecord:
    """Run trials of a family on a pair of a run; a study that is there goes on where it stopped.

    Raises:
        MissingObjectError: no run of this id was resolved, or it has not built the split of the pair.
        DataError: the run's working set or the journal was altered.
        TransientError: the server cannot be reached, or the device is out of memory.
    """
    context = StepContext(store, settings, load_config(store, run_id))
    pair = (params.strategy, params.horizon)
    name = study_name(context, *pair, family)
    rows = selecting_rows(context, *pair, family)
    study = open_study(store, name, family)
    budget = Budget(params.trials, params.minutes, params.stale_minutes)
    log.info("run_trials: start, %s, %d rows", name, len(rows.target))
    ended = take_part(study, family, budget, context.params.seed, score_of(context, rows, family, name))
    give_back()
    states = Counter(trial.state.name.lower() for trial in study.get_trials(deepcopy=False))
    record = StudyRecord(study=name, ended_here=ended, trials=dict(sorted(states.items())))
    log.info("run_trials: done: %s", record.model_dump_json())
    return record
