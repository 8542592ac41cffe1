"""A trial on the rows of a run: what it sees, and what it is worth."""

import numpy as np
import optuna
import pandas as pd
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.data.split import Part
from clipfarm_tasks.families import PRESETS, Family
from clipfarm_tasks.models.registry import create
from clipfarm_tasks.steps.train import fit_options
from clipfarm_tasks.steps.training_rows import training_rows
from clipfarm_tasks.steps.trial_score import predictions_of, score_of, selecting_rows
from clipfarm_tasks.tuning.space import values_of_code
from clipfarm_tasks.tuning.study import Budget, open_study, take_part
from tests.tuning.conftest import PAIR


def studied(run, family, trials=3):
    name = keys.tuning_study(run.id, *PAIR, family, "0" * 64)
    rows = selecting_rows(run.context, *PAIR, family)
    study = open_study(run.store, name, family)
    take_part(study, family, Budget(trials, 60, 60), 5, score_of(run.context, rows, family, name))
    return study


@pytest.mark.parametrize("family", Family)
def test_the_score_is_the_val_rmse_of_the_family_as_the_run_would_fit_it(prepared, family):
    study = studied(prepared, family, trials=1)
    rows = training_rows(prepared.context, *PAIR, family)
    model = create(family)
    parts = [of(part) for part in ("train", "val") for of in (rows.inputs_of, rows.target_of)]
    model.fit(*parts, fit_options(prepared.context, rows))
    predicted = model.predict(rows.inputs_of("val"))
    target = rows.manifest_of("val")["target_log"].to_numpy()
    assert study.best_value == pytest.approx(np.sqrt(np.mean((predicted - target) ** 2)))
    assert np.array_equal(predictions_of(prepared.store, study.study_name, 0), predicted)


# To kernel, all of its space is the same with as few rows.
@pytest.mark.parametrize("family", [family for family in Family if family is not Family.KERNEL])
def test_the_values_of_a_trial_are_what_is_fitted(prepared, family):
    study = studied(prepared, family)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    assert len({trial.value for trial in study.trials}) == 3


def test_no_test_row_is_assembled(prepared):
    rows = selecting_rows(prepared.context, *PAIR, Family.GBDT)
    whole = training_rows(prepared.context, *PAIR, Family.GBDT)
    assert set(rows.data.rows["split"]) == {Part.TRAIN, Part.VAL}
    assert len(rows.target) == len(rows.inputs.fused) == (whole.data.rows["split"] != Part.TEST).sum()
    assert not {*rows.data.rows["video_id"]} & {*whole.manifest_of("test")["video_id"]}


def test_poisoned_labels_of_the_test_part_change_nothing(upstream, prepared):
    split = prepared.frame(keys.video_split(prepared.id, PAIR[1]))
    before = studied(prepared, Family.GBDT)
    is_test = upstream.metadata["video_id"].isin(split.loc[split["split"] == "test", "video_id"])
    upstream.metadata.loc[is_test, "horizon_view_count"] = 10.0**9
    upstream.upload()
    prepared.resolve("poisoned")
    prepared.splits()
    poisoned = prepared.frame(keys.video_split("poisoned", PAIR[1]))
    pd.testing.assert_series_equal(poisoned["split"], split["split"])
    assert (poisoned["target_raw"] != split["target_raw"]).sum() == (split["split"] == "test").sum()
    after = studied(prepared, Family.GBDT)
    assert [(trial.params, trial.value) for trial in after.trials] == [
        (trial.params, trial.value) for trial in before.trials
    ]


def test_a_neural_fit_is_stopped_between_epochs_and_the_preset_of_the_code_is_not(prepared, monkeypatch):
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: True)
    study = studied(prepared, Family.CONCAT_MLP)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "PRUNED"]
    code, *others = study.trials
    assert list(code.intermediate_values) == [1, 2]  # all epochs of the run
    assert code.value == pytest.approx(min(code.intermediate_values.values()))
    assert [list(trial.intermediate_values) for trial in others] == [[1], [1]]
    assert code.params == values_of_code(Family.CONCAT_MLP)
    assert PRESETS[Family.CONCAT_MLP].hyperparams.least_batch_size == code.params["least_batch_size"]
