"""Columns that models learn from other rows, through the families."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Family
from clipfarm_tasks.models.inputs import taken
from clipfarm_tasks.models.learnt_features import COLUMNS, LearntFeatures
from clipfarm_tasks.models.registry import create, load


def with_provenance(rows):
    n = len(rows)
    published = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(n) % 97, unit="D")
    frame = pd.DataFrame(
        {
            "creator": [f"creator {number % 20}" for number in range(n)],
            "published_at": published,
            "captured_at": published + pd.Timedelta(days=7),
        }
    )
    return replace(rows, provenance=frame.astype(dict.fromkeys(("published_at", "captured_at"), "datetime64[us]")))


@pytest.fixture
def parts(videos):
    rows = with_provenance(videos.rows)
    return (rows.slice(0, 150), videos.target[:150]), (rows.slice(150, 200), videos.target[150:])


@pytest.mark.parametrize("family", list(Family), ids=str)
def test_every_family_learns_with_them_and_a_loaded_model_predicts_the_same(family, parts, options, tmp_path):
    train, val = parts
    model = create(family)
    report = model.fit(*train, *val, options(learnt_cols=COLUMNS))
    assert report.hyperparams["learnt_cols"] == list(COLUMNS)
    files = {file.name for file in model.save(tmp_path)}
    assert {f"{family}_text_neighbours.arrow", f"{family}_creator_history.arrow"} <= files
    predicted = model.predict(val[0])
    np.testing.assert_array_equal(load(family, tmp_path).predict(val[0]), predicted)
    other = create(family)
    other.fit(*train, *val, options())
    assert (other.predict(val[0]) != predicted).any()


def test_a_refit_learns_the_columns_anew(parts, options, tmp_path):
    (train, target), val = parts
    model = create(Family.RIDGE)
    model.fit(train, target, *val, options(learnt_cols=COLUMNS))
    model.refit(train.slice(0, 60), target[:60], options(learnt_cols=COLUMNS))
    model.save(tmp_path)
    index = LearntFeatures.load(tmp_path, Family.RIDGE).neighbours
    assert index is not None
    assert len(index.target) == train.text_present[:60].sum()


def test_a_block_of_which_no_column_is_asked_for_is_not_learnt(parts, options, tmp_path):
    (train, target), val = parts
    model = create(Family.RIDGE)
    model.fit(
        replace(train, text=None), target, replace(val[0], text=None), val[1], options(learnt_cols=("creator_mean",))
    )
    assert {file.name for file in model.save(tmp_path)} == {
        "ridge.skops",
        "ridge.joblib",
        "ridge_creator_history.arrow",
    }


@pytest.mark.parametrize("missing", ["text", "provenance"])
def test_a_missing_input_is_named(parts, options, missing):
    (train, target), val = parts
    message = f"expected the input '{missing}', which columns learnt from other rows need, got None, in family ridge"
    with pytest.raises(DataError, match=message):
        create(Family.RIDGE).fit(replace(train, **{missing: None}), target, *val, options(learnt_cols=COLUMNS))
    model = create(Family.RIDGE)
    model.fit(train, target, *val, options(learnt_cols=COLUMNS))
    with pytest.raises(DataError, match=message):
        model.predict(replace(val[0], **{missing: None}))


def test_provenance_goes_with_its_rows(parts):
    (train, _), _ = parts
    chosen = np.array([5, 3, 140])
    copy = taken(train, chosen, lambda name, shape: np.empty(shape, np.float32))
    assert copy.provenance["published_at"].tolist() == train.provenance["published_at"].iloc[chosen].tolist()
    assert train.slice(10, 20).provenance["creator"].iloc[0] == train.provenance["creator"].iloc[10]
