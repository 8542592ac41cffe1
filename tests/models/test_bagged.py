"""Several fits of one family as one model."""

import numpy as np
import pytest

from clipfarm_tasks.families import Family
from clipfarm_tasks.models.registry import create, load


@pytest.mark.parametrize("family", [Family.CONCAT_MLP, Family.GBDT])
def test_it_is_the_mean_of_fits_whose_seeds_follow_each_other(family, videos, options, tmp_path):
    train, val, seeds = videos.take(range(150)), videos.take(range(150, 200)), (4, 5, 6)
    alone = []
    for seed in seeds:
        one = create(family)
        one.fit(train.rows, train.target, val.rows, val.target, options(seed=seed))
        alone.append(one.predict(videos.rows).astype(np.float64))
    bagged = create(family, bags=len(seeds))
    report = bagged.fit(train.rows, train.target, val.rows, val.target, options(seed=seeds[0]))
    assert report.hyperparams["bag_seeds"] == list(seeds)
    assert len(report.curves) == len(seeds)
    assert np.abs(alone[0] - alone[1]).max() > 0
    np.testing.assert_allclose(bagged.predict(videos.rows), np.mean(alone, axis=0), rtol=1e-6)
    files = bagged.save(tmp_path)
    assert {file.parent.relative_to(tmp_path).as_posix() for file in files} == {".", "bag_2", "bag_3"}
    np.testing.assert_array_equal(load(family, tmp_path).predict(videos.rows), bagged.predict(videos.rows))


def test_a_refit_is_one_of_each_for_as_long_as_it_chose(videos, options):
    train, val = videos.take(range(150)), videos.take(range(150, 200))
    expected = []
    for seed in (4, 5):
        one = create(Family.GATED_FUSION_MLP)
        one.fit(train.rows, train.target, val.rows, val.target, options(seed=seed))
        one.refit(videos.rows, videos.target, options(seed=seed))
        expected.append(one.predict(videos.rows).astype(np.float64))
    bagged = create(Family.GATED_FUSION_MLP, bags=2)
    bagged.fit(train.rows, train.target, val.rows, val.target, options(seed=4))
    bagged.refit(videos.rows, videos.target, options(seed=4))
    np.testing.assert_allclose(bagged.predict(videos.rows), np.mean(expected, axis=0), rtol=1e-6)


def test_a_family_without_a_seed_is_fitted_once(videos, options, tmp_path):
    model = create(Family.RIDGE, bags=3)
    report = model.fit(videos.rows, videos.target, videos.rows, videos.target, options())
    assert "bag_seeds" not in report.hyperparams
    assert {file.parent for file in model.save(tmp_path)} == {tmp_path}
