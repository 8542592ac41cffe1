"""What is loaded is a skops file of trusted types; nothing that a bucket holds is unpickled."""

import os

import joblib
import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skops import io

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Device, Family
from clipfarm_tasks.models import skops_file
from clipfarm_tasks.models.family import FitOptions
from clipfarm_tasks.models.registry import create, load

PIPELINES = (Family.RIDGE, Family.GBDT, Family.KERNEL)


class Bomb:
    """Unpickling it writes a file: the proof that somebody unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture(scope="module")
def saved(videos, tmp_path_factory):
    """Folders with the files of the families that are scikit-learn pipelines."""
    options = FitOptions(
        ("subscribers", "duration"), ("country",), FeatureSet.V2_LOG_COUNTS, 0, Device.CPU, 1, 1, 1, projector_dim=4
    )
    folders = {}
    for family in PIPELINES:
        folders[family] = tmp_path_factory.mktemp(family)
        model = create(family)
        model.fit(videos.rows, videos.target, videos.rows, videos.target, options)
        model.save(folders[family])
    return folders


@pytest.mark.parametrize("family", PIPELINES)
def test_both_files_hold_the_same_pipeline(saved, family, videos):
    ours = skops_file.load(saved[family] / f"{family}.skops")
    downstream = joblib.load(saved[family] / f"{family}.joblib")
    frame = videos.rows.metadata[["subscribers", "duration", "country"]].fillna({"country": "US"})
    vectors = [name for name in ours.feature_names_in_ if "_" in name]
    frame[vectors] = np.random.default_rng(0).normal(size=(200, len(vectors)))
    np.testing.assert_array_equal(ours.predict(frame), downstream.predict(frame))


@pytest.mark.parametrize("family", PIPELINES)
def test_a_planted_joblib_file_is_never_opened(saved, family, videos, tmp_path):
    expected = load(family, saved[family]).predict(videos.rows)
    folder, unpickled = tmp_path / "models", tmp_path / "unpickled"
    folder.mkdir()
    for path in saved[family].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    joblib.dump(Bomb(unpickled), folder / f"{family}.joblib")
    np.testing.assert_array_equal(load(family, folder).predict(videos.rows), expected)
    (folder / f"{family}.skops").unlink()
    with pytest.raises(FileNotFoundError):
        load(family, folder)
    assert not unpickled.exists()
    joblib.load(folder / f"{family}.joblib")  # the tripwire works
    assert unpickled.exists()


@pytest.mark.parametrize("function", [os.system, eval])
def test_a_type_that_is_not_trusted_is_named(tmp_path, function):
    path = tmp_path / "ridge.skops"
    io.dump(make_pipeline(FunctionTransformer(function), RidgeCV()), path)
    name = f"{function.__module__}.{function.__name__}"
    with pytest.raises(DataError, match=rf"expected only types that .* is made of, got {name}, in {path}"):
        load(Family.RIDGE, tmp_path)


def test_what_is_no_skops_file_is_refused(tmp_path):
    path = tmp_path / "ridge.skops"
    joblib.dump(Bomb(tmp_path / "unpickled"), path)
    with pytest.raises(DataError, match=f"expected a skops file, got .*, in {path}"):
        skops_file.load(path)
    assert not (tmp_path / "unpickled").exists()
    io.dump(RidgeCV(), path)
    with pytest.raises(DataError, match=f"expected a pipeline, got RidgeCV, in {path}"):
        skops_file.load(path)


@pytest.mark.parametrize(
    ("field", "value"), [("left", 10**6), ("right", 0), ("feature_idx", 10**6), ("feature_idx", -1)]
)
def test_trees_that_lead_out_of_their_arrays_are_refused(saved, tmp_path, field, value):
    pipeline = skops_file.load(saved[Family.GBDT] / "gbdt.skops")
    nodes = pipeline.named_steps["model"]._predictors[0][0].nodes
    assert not nodes[0]["is_leaf"]
    nodes[0][field] = value
    skops_file.save(pipeline, tmp_path / "gbdt.skops")
    with pytest.raises(DataError, match="expected trees whose nodes lead to their own nodes and features"):
        skops_file.load(tmp_path / "gbdt.skops")
