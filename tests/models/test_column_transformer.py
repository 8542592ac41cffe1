"""The published scikit-learn pipelines: what they read, and that they need nothing of this package."""

import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.families import CategoryPreset, Family
from clipfarm_tasks.models import skops_file
from clipfarm_tasks.models.column_transformer import (
    columns_read,
    linear_columns,
    metadata_frame,
    tree_columns,
    vector_columns,
    with_vectors,
)
from clipfarm_tasks.models.projector import Projector
from clipfarm_tasks.models.registry import create

NUMERIC = ("subscribers", "duration", "is_short")
CATEGORICAL = ("country", "language")
VECTORS = vector_columns("fused", 19)
CATEGORIES = CategoryPreset(min_frequency=20, max_categories=256)


def frame_of(videos):
    return with_vectors(metadata_frame(videos.rows.metadata, NUMERIC, CATEGORICAL), VECTORS, videos.rows.fused)


def fitted_linear(videos, numeric_cols=NUMERIC, log_cols=("subscribers",), categorical_cols=CATEGORICAL, scale=1.0):
    metadata = metadata_frame(videos.rows.metadata, numeric_cols, categorical_cols)
    return linear_columns(metadata, numeric_cols, log_cols, categorical_cols, VECTORS, scale, CATEGORIES, is_held=True)


@pytest.mark.parametrize("family", [Family.RIDGE, Family.GBDT, Family.KERNEL])
def test_the_file_predicts_raw_metadata_without_this_package(family, videos, options, tmp_path):
    model = create(family)
    model.fit(videos.rows, videos.target, videos.rows, videos.target, options())
    model.save(tmp_path)
    prefix, vectors = "fused", videos.rows.fused
    if family is Family.GBDT:
        prefix, vectors = "proj", Projector.load(tmp_path)(vectors)
    frame = videos.rows.metadata.copy()
    frame[vector_columns(prefix, vectors.shape[1])] = vectors
    frame = frame[reversed(frame.columns)].assign(nobody="knows it")  # columns are found by their names
    joblib.dump(frame, tmp_path / "frame")
    code = (
        "import sys, joblib, numpy as np\n"
        "sys.modules['clipfarm_tasks'] = None\n"
        "folder, name = sys.argv[1:]\n"
        "np.save(folder + '/out.npy', joblib.load(folder + name).predict(joblib.load(folder + '/frame')))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), f"/{family}.joblib"], check=True, cwd=tmp_path)
    # The raw frame has None where a category is missing: unseen to the file, where our own frame says NaN.
    known = videos.rows.metadata["country"].notna().to_numpy()
    np.testing.assert_allclose(np.load(tmp_path / "out.npy")[known], model.predict(videos.rows)[known], rtol=1e-6)


def test_linear_columns_scale_numerics_and_leave_vectors_alone(videos):
    features = fitted_linear(videos).transform(frame_of(videos))
    assert features.shape == (200, 3 + 19 + 4 + 2)
    subscribers = videos.rows.metadata["subscribers"].to_numpy()
    logged = np.log1p(np.where(np.isnan(subscribers), np.nanmedian(subscribers), subscribers))
    np.testing.assert_allclose(features[:, 0], (logged - logged.mean()) / logged.std())
    np.testing.assert_allclose(features[:, :3].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_array_equal(features[:, 3:22], videos.rows.fused)
    assert set(np.unique(features[:, 22:])) == {0.0, 1.0}


def test_the_file_of_ridge_is_a_pipeline_that_learns_anew(videos, options, tmp_path):
    model = create(Family.RIDGE)
    v2 = options(feature_set=FeatureSet.V2_LOG_COUNTS)
    model.fit(videos.rows, videos.target, videos.rows, videos.target, v2)
    model.save(tmp_path)
    loaded = skops_file.load(tmp_path / "ridge.skops")
    frame, predicted = frame_of(videos), loaded.predict(frame_of(videos))
    np.testing.assert_allclose(predicted, model.predict(videos.rows), rtol=1e-6)
    shifted = frame.assign(duration=frame["duration"] * 3 + 50, country=frame["country"].map({"US": "XX", "DE": "YY"}))
    anew = clone(loaded).fit(shifted, videos.target)

    scaler, filler = (anew["pre"]["num"]["plain"][name] for name in ("standardscaler", "simpleimputer"))
    expected = StandardScaler().fit(shifted[["duration", "is_short"]])
    np.testing.assert_allclose((scaler.mean_, scaler.scale_), (expected.mean_, expected.scale_))
    np.testing.assert_allclose(filler.statistics_, shifted[["duration", "is_short"]].median())
    assert anew["pre"]["cat"]["onehotencoder"].categories_[0].tolist() == ["XX", "YY"]
    features = anew["pre"].transform(shifted)
    ridge = RidgeCV(alphas=anew["model"].alphas).fit(features, videos.target)
    np.testing.assert_allclose(anew.predict(shifted), ridge.predict(features))
    np.testing.assert_array_equal(loaded.predict(frame), predicted)


def test_linear_columns_learn_from_all_rows_what_an_unfrozen_pipeline_learns(videos):
    metadata = metadata_frame(videos.rows.metadata, NUMERIC, CATEGORICAL)
    filled = SimpleImputer(strategy="median").fit_transform(metadata[["duration", "is_short"]])
    one_hot = OneHotEncoder(sparse_output=False).fit_transform(
        SimpleImputer(strategy="most_frequent").fit_transform(metadata[list(CATEGORICAL)])
    )
    features = fitted_linear(videos).transform(frame_of(videos))
    np.testing.assert_allclose(features[:, 1:3], StandardScaler().fit_transform(filled))
    np.testing.assert_array_equal(features[:, 22:], one_hot)


@pytest.mark.parametrize("log_cols", [(), ("subscribers",)])
def test_held_numerics_stay_in_the_range_of_the_train_part(videos, log_cols):
    pre, frame = fitted_linear(videos, log_cols=log_cols), frame_of(videos)
    smallest, largest = frame["subscribers"].min(), frame["subscribers"].max()
    beyond, within = (frame.assign(subscribers=value) for value in (1e14, largest))
    np.testing.assert_allclose(pre.transform(beyond), pre.transform(within))
    np.testing.assert_allclose(
        pre.transform(frame.assign(subscribers=0.0)), pre.transform(frame.assign(subscribers=smallest))
    )
    anew = clone(pre).fit(frame.assign(subscribers=frame["subscribers"] * 3))
    assert (anew.transform(frame.assign(subscribers=2 * largest)) != anew.transform(within)).any()


def test_vectors_are_multiplied_by_one_number(videos):
    plain, halved = (fitted_linear(videos, scale=scale).transform(frame_of(videos)) for scale in (1.0, 0.5))
    np.testing.assert_array_equal(halved[:, 3:22], 0.5 * plain[:, 3:22])
    np.testing.assert_array_equal(np.delete(halved, range(3, 22), axis=1), np.delete(plain, range(3, 22), axis=1))


def test_a_missing_category_counts_as_the_most_frequent_and_an_unseen_one_as_none(videos):
    pre, frame = fitted_linear(videos, (), (), ("country",)), frame_of(videos)
    most = frame["country"].mode()[0]
    missing, frequent, unseen = (pre.transform(frame.assign(country=value))[:, 19:] for value in (np.nan, most, "FR"))
    np.testing.assert_array_equal(missing, frequent)
    assert frequent.sum() == len(frame)
    assert unseen.sum() == 0


@pytest.mark.parametrize("make", ["linear", "tree"])
def test_rare_and_unseen_categories_share_the_last_column(videos, make):
    rare = videos.rows.metadata.assign(language=["fr", "it", "es"] + 197 * ["de"])
    metadata = metadata_frame(rare, (), ("language",))
    if make == "linear":
        pre = linear_columns(metadata, (), (), ("language",), VECTORS, 1.0, CATEGORIES, is_held=False)
    else:
        pre = tree_columns((), (), (), ("language",), VECTORS, CATEGORIES)
        pre.fit(with_vectors(metadata, VECTORS, videos.rows.fused))
    one_hot = pre.transform(with_vectors(metadata, VECTORS, videos.rows.fused))[:, 19:]
    np.testing.assert_array_equal(one_hot, np.repeat([[0, 1], [1, 0]], [3, 197], axis=0))
    later = with_vectors(metadata.assign(language="klingon"), VECTORS, videos.rows.fused)
    np.testing.assert_array_equal(pre.transform(later)[:, 19:], 200 * [[0, 1]])


def test_the_columns_that_are_read_are_told_by_pre_itself(videos):
    assert columns_read(fitted_linear(videos)) == (list(NUMERIC), list(CATEGORICAL), VECTORS)
    trees = tree_columns(NUMERIC, ("subscribers",), ("is_short",), CATEGORICAL, VECTORS, CATEGORIES)
    trees.fit(frame_of(videos))
    assert columns_read(trees) == (list(NUMERIC), list(CATEGORICAL), VECTORS)


def test_tree_columns_keep_missing_numerics(videos):
    frame = with_vectors(metadata_frame(videos.rows.metadata, NUMERIC, ()), VECTORS, videos.rows.fused)
    features = tree_columns(NUMERIC, ("subscribers",), (), (), VECTORS, CATEGORIES).fit_transform(frame)
    np.testing.assert_array_equal(np.isnan(features[:, 0]), frame["subscribers"].isna())
    assert features.shape == (200, 3 + 19)


def test_infinite_numerics_become_missing(videos):
    metadata = videos.rows.metadata[:3].assign(duration=[np.inf, -np.inf, 4.0])
    frame = metadata_frame(metadata, NUMERIC, CATEGORICAL)
    assert frame["duration"].isna().tolist() == [True, True, False]
