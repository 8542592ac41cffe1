from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.models.log_counts import logged_columns, skewness, with_logs
from clipfarm_tasks.models.preprocess import Preprocess
from clipfarm_tasks.models.ridge import RidgeFamily

RNG = np.random.default_rng(0)
N = 300
COLUMNS = {
    "count": np.exp(RNG.normal(8, 3, N)),
    "count_with_gaps": np.where(np.arange(N) % 5 == 0, np.nan, np.exp(RNG.normal(8, 3, N))),
    "count_with_zeros": np.where(np.arange(N) % 2 == 0, 0, np.exp(RNG.normal(4, 2, N))),
    "signed": np.exp(RNG.normal(8, 3, N)) - 1000,
    "hour": RNG.integers(0, 24, N).astype(float),
    "rare_flag": (np.arange(N) < 4).astype(float),
    "constant": np.full(N, 7.0),
    "empty": np.full(N, np.nan),
    "left_tail": 100 - np.exp(RNG.normal(0, 1, N)),
}
LOGGED = ("count", "count_with_gaps", "count_with_zeros")


def test_takes_non_negative_heavy_tails_and_nothing_else():
    assert logged_columns(pd.DataFrame(COLUMNS), list(COLUMNS), FeatureSet.V2_LOG_COUNTS) == LOGGED


def test_v1_takes_nothing():
    assert logged_columns(pd.DataFrame(COLUMNS), list(COLUMNS), FeatureSet.V1_TRAINING_SUITE) == ()


def test_one_negative_value_keeps_a_column_raw():
    frame = pd.DataFrame({"count": np.r_[COLUMNS["count"], -0.5]})
    assert logged_columns(frame, ["count"], FeatureSet.V2_LOG_COUNTS) == ()


def test_keeps_the_order_it_was_given():
    order = list(reversed(COLUMNS))
    assert logged_columns(pd.DataFrame(COLUMNS), order, FeatureSet.V2_LOG_COUNTS) == LOGGED[::-1]


def test_with_logs_takes_those_that_the_train_part_chooses():
    is_train = np.arange(N) >= 3
    frame = pd.DataFrame(COLUMNS).assign(ignored=1.0)
    frame.loc[:2, ["count", "hour"]] = [[-5.0, -5.0], [np.nan, np.nan], [np.inf, 1e9]]  # of later rows
    found = with_logs(frame, ["hour", "count", "empty"], is_train)
    np.testing.assert_array_equal(found[3:, 0], COLUMNS["hour"][3:])
    np.testing.assert_allclose(found[3:, 1], np.log1p(COLUMNS["count"][3:]))
    np.testing.assert_array_equal(found[:3, :2], [[-5.0, 0.0], [np.nan, np.nan], [1e9, np.nan]])
    assert np.isnan(found[:, 2]).all()
    assert found.shape == (N, 3)


@pytest.mark.parametrize("name", ["count", "hour", "rare_flag", "left_tail"])
def test_skewness_is_scipy_s(name):
    assert skewness(COLUMNS[name]) == pytest.approx(stats.skew(COLUMNS[name]), rel=1e-9)


def test_skewness_of_a_constant_is_zero_and_of_huge_counts_finite():
    assert skewness(np.full(5, 3.0)) == 0.0
    assert skewness(np.array([0.0, 1.0, 1e200])) == pytest.approx(stats.skew([0.0, 0.0, 1.0]))


def test_the_choice_is_made_on_the_train_part_alone(options):
    # The validation rows would tip both columns the other way.
    train = pd.DataFrame({"tail": COLUMNS["count"], "flat": COLUMNS["hour"]})
    chosen = Preprocess.fit(
        train, options(numeric_cols=("tail", "flat"), categorical_cols=(), feature_set=FeatureSet.V2_LOG_COUNTS)
    )
    assert chosen.log_cols == ["tail"]
    later = pd.DataFrame({"tail": [-5.0, np.nan, 10.0], "flat": [1e12, np.inf, 3.0]})
    prepared = chosen.numerics(later)
    assert np.isfinite(prepared).all()
    mean, std = np.log1p(COLUMNS["count"]).mean(), np.log1p(COLUMNS["count"]).std()
    expected = (np.array([0.0, np.log1p(np.median(COLUMNS["count"])), np.log1p(10.0)]) - mean) / std
    np.testing.assert_allclose(prepared[:, 0], expected, rtol=1e-5)


def test_a_linear_model_on_logged_counts_does_not_explode(new_videos, options):
    # Raw, one channel a million times larger than any in the train part adds thousands to a log-space prediction.

    data = new_videos(200)
    giant = replace(data.rows, metadata=data.rows.metadata.assign(subscribers=1e13))

    def largest(feature_set):
        model = RidgeFamily()
        model.fit(data.rows, data.target, data.rows, data.target, options(feature_set=feature_set))
        return np.abs(model.predict(giant)).max()

    assert largest(FeatureSet.V2_LOG_COUNTS) < 30 < largest(FeatureSet.V1_TRAINING_SUITE)
