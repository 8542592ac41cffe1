import numpy as np

from clipfarm_tasks.models.gbdt import RECIPE, GbdtFamily


def trees(train, val_rows, val_target, options):
    return GbdtFamily().fit(train.rows, train.target, val_rows, val_target, options).hyperparams["trees"]


def test_the_trees_stop_on_the_validation_part(new_videos, options):
    # Labels that no tree can help to predict end the fit at once; a slice of the train part would let it go on.
    data = new_videos(500)
    train, val = data.take(range(400)), data.take(range(400, 500))
    noise = np.random.default_rng(0).permutation(val.target)
    assert trees(train, val.rows, noise, options()) < 0.5 * trees(train, val.rows, val.target, options())


def test_no_split_could_use_the_column_of_a_pooled_category():
    assert RECIPE.categories.min_frequency <= RECIPE.min_samples_leaf
