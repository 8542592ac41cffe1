"""What a study has found, against the preset of the code."""

import numpy as np
import pytest

from clipfarm_tasks.contracts import TuningParams
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Family
from clipfarm_tasks.steps.run_trials import run_trials
from clipfarm_tasks.steps.study_outcome import found_preset, study_name
from clipfarm_tasks.steps.trial_score import predictions_of
from clipfarm_tasks.tuning.study import open_study
from tests.tuning.conftest import PAIR


def test_both_sides_are_scored_on_the_same_rows_and_the_difference_is_paired(prepared):
    record = run_trials(prepared.store, prepared.settings, TuningParams(trials=12), prepared.id, Family.GBDT)
    assert record.ended_here == 12
    assert record.trials == {"complete": 12}
    found = found_preset(prepared.context, *PAIR, Family.GBDT)
    study = open_study(prepared.store, record.study, Family.GBDT)
    assert found.study == record.study == study_name(prepared.context, *PAIR, Family.GBDT)
    assert found.trial == int(np.argmin([trial.value for trial in study.trials])) > 0
    assert found.values == study.trials[found.trial].params
    assert found.trials == 12
    assert found.n_val == 30
    assert found.val_rmse_log_of_code == study.trials[0].value
    assert found.difference == found.val_rmse_log - found.val_rmse_log_of_code < 0
    low, high = found.difference_interval
    # The bootstrap over videos, each of a creator of its own, again and by hand.
    target = prepared.frame(
        prepared.json(f"clipfarm/runs/run_id={prepared.id}/records/concat_7d.build_split.json")["key"]
    )
    target = target.loc[target["split"] == "val", "target_log"].to_numpy()
    best, code = (predictions_of(prepared.store, record.study, number) for number in (found.trial, 0))
    drawn = np.random.default_rng(0).integers(0, 30, (20_000, 30))
    rmse = [np.sqrt(np.square((side - target)[drawn]).mean(axis=1)) for side in (best, code)]
    expected = np.quantile(rmse[0] - rmse[1], [0.025, 0.975])
    assert (low, high) == pytest.approx(expected, abs=0.1 * (expected[1] - expected[0]))


def test_a_study_without_a_score_of_the_preset_of_the_code_says_so(prepared):
    with pytest.raises(DataError, match="expected the study .*model=ridge.*, got none"):
        found_preset(prepared.context, *PAIR, Family.RIDGE)
