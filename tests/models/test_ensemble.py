import json

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import ENSEMBLE, Family
from clipfarm_tasks.models.ensemble import FILE, SHRINKAGE, blend_weights, cross_fitted, read_weights, write_weights
from clipfarm_tasks.models.registry import create, load


def members(rng, noise, rows=4000):
    """Predictions of members that are wrong by independent noise, and the truth."""
    target = rng.normal(8, 2, rows)
    return target[:, None] + rng.normal(size=(rows, len(noise))) * noise, target


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_weights_are_those_of_the_penalised_problem(rng):
    noise = np.array([1.0, 1.5, 2.0])
    weights = blend_weights(*members(rng, noise, 400_000))
    # Errors are independent, so the problem is diagonal: (v_i + s) w_i - s/3 is the same for all, and they add up to 1.
    pull = SHRINKAGE * np.mean(noise**2)
    inverse = 1 / (noise**2 + pull)
    level = (1 - (pull / 3 * inverse).sum()) / inverse.sum()
    np.testing.assert_allclose(weights, (level + pull / 3) * inverse, atol=0.01)
    assert weights.sum() == pytest.approx(1, abs=1e-9)


def test_an_error_that_is_always_the_same_is_an_error(rng):
    predictions, target = members(rng, [0.5, 0.0], 100_000)
    predictions[:, 1] += 1
    # The derivative of w^2 / 4 + (1 - w)^2 + 2 s (w - 1/2)^2 is zero.
    pull = SHRINKAGE * (0.25 + 1) / 2
    assert blend_weights(predictions, target)[0] == pytest.approx((1 + pull) / (1.25 + 2 * pull), abs=0.01)


def test_a_member_that_only_harms_gets_nothing(rng):
    predictions, target = members(rng, [1.0, 1.0, 1.0])
    predictions[:, 2] = predictions[:, 0] + 3 * (predictions[:, 0] - target)
    weights = blend_weights(predictions, target)
    assert (weights >= 0).all()
    assert weights[2] == 0


def test_members_that_are_always_right_share_the_weight():
    target = np.arange(5.0)
    np.testing.assert_array_equal(blend_weights(np.stack([target, target], axis=1), target), [0.5, 0.5])


def test_no_video_is_blended_with_weights_that_saw_its_creator(rng):
    predictions, target = members(rng, [1.0, 1.2], 60)
    creators = pd.Series(np.repeat([f"c{i}" for i in range(12)], 5))
    before = cross_fitted(predictions, target, creators)
    changed = target + 100 * (creators == "c3").to_numpy()
    after = cross_fitted(predictions, changed, creators)
    fold = np.repeat(np.arange(12) % 5, 5)
    np.testing.assert_array_equal(before[fold == 3], after[fold == 3])
    assert (before[fold != 3] != after[fold != 3]).any()
    others = fold != 0
    np.testing.assert_allclose(
        before[~others], predictions[~others] @ blend_weights(predictions[others], target[others])
    )


def test_one_creator_alone_is_blended_with_equal_weights(rng):
    predictions, target = members(rng, [1.0, 2.0], 20)
    blended = cross_fitted(predictions, target, pd.Series(["c"] * 20))
    np.testing.assert_allclose(blended, predictions.mean(axis=1))


def test_an_ensemble_predicts_the_blend_of_its_members_files(videos, options, tmp_path):
    predicted = {}
    for family in (Family.RIDGE, Family.CONCAT_MLP):
        model = create(family)
        model.fit(videos.rows, videos.target, videos.rows, videos.target, options())
        model.save(tmp_path)
        predicted[family] = model.predict(videos.rows)
    write_weights(tmp_path, {Family.RIDGE: 0.25, Family.CONCAT_MLP: 0.75})
    found = load(ENSEMBLE, tmp_path).predict(videos.rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 0.25 * predicted[Family.RIDGE] + 0.75 * predicted[Family.CONCAT_MLP], rtol=1e-6)


@pytest.mark.parametrize("content", ["no json", "[]", '{"weights": {"xgboost": 1}}', '{"weights": {"ridge": "heavy"}}'])
def test_weights_of_nobody_are_refused(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(DataError, match="expected the weights of families, got .*ensemble.json"):
        read_weights(tmp_path)


def test_weights_are_plain_json(tmp_path):
    write_weights(tmp_path, {Family.GBDT: 1.0})
    assert json.loads((tmp_path / FILE).read_text()) == {"weights": {"gbdt": 1.0}}
    assert read_weights(tmp_path) == {Family.GBDT: 1.0}
