import json

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.models.preprocess import Preprocess


def frame(**changes):
    values = {
        "subscribers": [1.0, np.nan, 3.0, 8.0],
        "duration": [5.0, 6.0, 7.0, 8.0],
        "is_short": [1.0, 1.0, 1.0, 1.0],
        "country": np.array(["US", None, "DE", "US"], dtype=object),
        "language": np.array(["en", "en", np.nan, "de"], dtype=object),
    }
    return pd.DataFrame(values | changes)


def test_numerics_are_those_of_scikit_learn(options, new_videos):
    names = ["subscribers", "duration", "is_short"]
    metadata = new_videos(100).rows.metadata
    train, later = metadata[:60], metadata[60:]
    prepared = Preprocess.fit(train, options(feature_set=FeatureSet.V1_TRAINING_SUITE)).numerics(later)
    imputer = SimpleImputer(strategy="median").fit(train[names])
    scaler = StandardScaler().fit(imputer.transform(train[names]))
    assert (prepared.shape, prepared.dtype) == ((40, 3), np.float32)
    np.testing.assert_allclose(prepared, scaler.transform(imputer.transform(later[names])), rtol=1e-5, atol=1e-6)


def test_a_constant_column_is_zero_and_stays_finite_when_it_varies_later(options):
    preprocess = Preprocess.fit(frame(), options(feature_set=FeatureSet.V2_LOG_COUNTS))
    assert preprocess.num_std[2] == 1.0
    np.testing.assert_array_equal(preprocess.numerics(frame())[:, 2], 0.0)
    np.testing.assert_array_equal(preprocess.numerics(frame(is_short=3.0))[:, 2], 2.0)


def test_a_column_without_any_value_is_zero_whatever_comes_later(options):
    preprocess = Preprocess.fit(frame(duration=np.nan), options(feature_set=FeatureSet.V1_TRAINING_SUITE))
    assert (preprocess.num_median[1], preprocess.num_mean[1], preprocess.num_std[1]) == (0.0, 0.0, 1.0)
    np.testing.assert_array_equal(preprocess.numerics(frame(duration=np.nan))[:, 1], 0.0)


def test_categories_are_numbered_from_one_and_zero_is_unseen_or_missing(options):
    preprocess = Preprocess.fit(frame(), options())
    assert preprocess.cat_mappings == {"country": {"DE": 1, "US": 2}, "language": {"de": 1, "en": 2}}
    assert preprocess.cardinalities == [3, 3]
    assert preprocess.categories(frame()).dtype == np.int64
    np.testing.assert_array_equal(preprocess.categories(frame()), [[2, 2], [0, 2], [1, 0], [2, 1]])
    later = frame(country=np.array(["FR", "", "us", "US"], dtype=object))
    np.testing.assert_array_equal(preprocess.categories(later)[:, 0], [0, 0, 0, 2])


def test_statistics_know_only_the_train_part(options):
    whole = pd.concat([frame(), frame(subscribers=1e9, country="FR")])
    fitted = Preprocess.fit(whole[:4], options())
    assert fitted == Preprocess.fit(frame(), options())


def test_the_dict_is_plain_and_brings_everything_back(options):
    preprocess = Preprocess.fit(frame(), options())
    again = Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict())) | {"added_by_a_family": 1})
    assert again == preprocess
    np.testing.assert_array_equal(again.numerics(frame()), preprocess.numerics(frame()))


def test_no_columns_at_all_give_arrays_of_no_width(options):
    preprocess = Preprocess.fit(frame(), options(numeric_cols=(), categorical_cols=()))
    assert preprocess.numerics(frame()).shape == preprocess.categories(frame()).shape == (4, 0)


def test_v3_holds_numbers_in_the_range_of_the_train_part(options):
    preprocess = Preprocess.fit(frame(), options())
    assert preprocess.num_range == [[1.0, 8.0], [5.0, 8.0], [1.0, 1.0]]
    later = frame(subscribers=[0.0, np.nan, 1e12, 8.0], duration=[-1e9, 5.0, 8.0, 99.0])
    within = frame(subscribers=[1.0, 3.0, 8.0, 8.0], duration=[5.0, 5.0, 8.0, 8.0])
    np.testing.assert_array_equal(preprocess.numerics(later), preprocess.numerics(within))
    before = Preprocess.fit(frame(), options(feature_set=FeatureSet.V2_LOG_COUNTS))
    assert before.num_range is None
    np.testing.assert_array_equal(before.numerics(frame()), preprocess.numerics(frame()))
    assert (before.numerics(later) != before.numerics(within)).any()


def test_no_number_leaves_float32_however_small_the_scale(options):
    tiny = frame(duration=[0.0, 1e-30, 2e-30, 3e-30])
    preprocess = Preprocess.fit(tiny, options(feature_set=FeatureSet.V1_TRAINING_SUITE))
    scaled = preprocess.numerics(frame(duration=[9e14, -9e14, 1e16, np.inf]))[:, 1]
    assert scaled.tolist()[:2] == [np.float32(1e15), np.float32(-1e15)]
    np.testing.assert_array_equal(scaled[2:], preprocess.numerics(frame(duration=np.nan))[2:, 1])
