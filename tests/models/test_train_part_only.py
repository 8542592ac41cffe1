"""What a family learns about metadata it learns from the train part: the validation part only says when to stop."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clipfarm_tasks.families import Family
from clipfarm_tasks.models import skops_file
from clipfarm_tasks.models.column_transformer import metadata_frame, vector_columns, with_vectors
from clipfarm_tasks.models.registry import create

TRAIN, VAL = range(150), range(150, 200)


def poisoned(part):
    """The part with other metadata: a thousand times the numbers, one of each below zero, and other categories."""
    metadata = part.rows.metadata.copy()
    for name in metadata:
        if metadata[name].dtype == object:
            metadata[name] = np.full(len(metadata), "elsewhere", dtype=object)
        else:
            metadata[name] *= 1000
            metadata.loc[0, name] = -1e6
    return replace(part, rows=replace(part.rows, metadata=metadata))


@pytest.fixture
def pair(family, videos, options):
    """The family fitted twice: with the validation part as it is, and with a poisoned one."""
    models = create(family), create(family)
    train, val = videos.take(TRAIN), videos.take(VAL)
    for model, part in zip(models, (val, poisoned(val)), strict=True):
        model.fit(train.rows, train.target, part.rows, part.target, options())
    return models


def saved(pair, tmp_path, name):
    """The file of that name of both models."""
    paths = {path.name: path for number, model in enumerate(pair) for path in model.save(tmp_path / str(number))}
    assert name in paths
    return [tmp_path / str(number) / name for number in range(2)]


def assert_pre_is_the_same(pipelines, videos, options, prefix, width):
    """Both ``pre`` take all rows, the poisoned ones too, to the same numbers."""
    vectors = np.random.default_rng(0).normal(size=(200, width)).astype(np.float32)
    one, other = (pipeline.named_steps["pre"] for pipeline in pipelines)
    for rows in (videos.rows, poisoned(videos).rows):
        metadata = metadata_frame(rows.metadata, options().numeric_cols, options().categorical_cols)
        frame = with_vectors(metadata, vector_columns(prefix, width), vectors)
        np.testing.assert_array_equal(one.transform(frame), other.transform(frame))


@pytest.mark.parametrize("family", [Family.RIDGE, Family.KERNEL])
def test_a_linear_model_does_not_see_the_validation_part_at_all(pair, family, videos, options, tmp_path):
    pipelines = [skops_file.load(path) for path in saved(pair, tmp_path, f"{family}.skops")]
    assert_pre_is_the_same(pipelines, videos, options, "fused", 19)
    one, other = (pipeline.named_steps["model"] for pipeline in pipelines)
    assert (one.alpha_, one.intercept_) == (other.alpha_, other.intercept_)
    np.testing.assert_array_equal(one.coef_, other.coef_)
    np.testing.assert_array_equal(pair[0].predict(videos.rows), pair[1].predict(videos.rows))


@pytest.mark.parametrize("family", [Family.CONCAT_MLP, Family.GATED_FUSION_MLP, Family.TABM])
def test_preprocess_of_a_network_is_that_of_the_train_part(pair, family, videos, tmp_path):
    found = [torch.load(path, weights_only=True) for path in saved(pair, tmp_path, f"{family}.pt")]
    one, other = (content["preprocess"] for content in found)
    assert one == other
    train = videos.take(TRAIN).rows.metadata
    np.testing.assert_allclose(one["num_median"], train[one["numeric_cols"]].median())
    assert list(one["cat_mappings"]["country"]) == sorted(train["country"].dropna().unique())


@pytest.mark.parametrize("family", [Family.GBDT])
def test_pre_of_the_trees_is_that_of_the_train_part(pair, videos, options, tmp_path):
    pipelines = [skops_file.load(path) for path in saved(pair, tmp_path, "gbdt.skops")]
    assert_pre_is_the_same(pipelines, videos, options, "proj", 8)
    encoders = [pipeline.named_steps["pre"].named_transformers_["cat"] for pipeline in pipelines]
    country = sorted(videos.take(TRAIN).rows.metadata["country"].dropna().unique())
    for encoder in encoders:
        assert [name for name in encoder.categories_[0] if isinstance(name, str)] == country
