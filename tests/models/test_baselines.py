"""Naive guesses and plain models know the train part alone, and of a creator only what was known in time."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

from clipfarm_tasks.families import Baseline
from clipfarm_tasks.models import baselines
from clipfarm_tasks.models.baselines import BaselineRows, baseline_predictions, creator_means

RNG = np.random.default_rng(0)
N = 600
NUMERIC, CATEGORICAL = ("followers", "empty"), ("country",)


def days(values):
    return np.datetime64("2026-01-01", "us") + np.asarray(values) * np.timedelta64(1, "D")


def make(**changes):
    followers = np.round(np.exp(RNG.normal(8, 2, N)))
    vectors = RNG.normal(size=(N, 5)).astype(np.float32)
    country = RNG.choice(np.array(["US", "IN", None], dtype=object), N)
    target = np.log1p(followers) + vectors[:, 0] + 0.7 * (country == "US")
    published = days(RNG.integers(0, 300, N))
    fields = {
        "split": RNG.permutation(np.repeat(np.array(["train", "val", "test"], dtype=object), [400, 100, 100])),
        "target": target,
        "provenance": pd.DataFrame(
            {
                "creator": [f"c{number}" for number in RNG.integers(0, 150, N)],
                "published_at": published,
                "captured_at": published + np.timedelta64(7, "D"),
            }
        ),
        "metadata": pd.DataFrame({"followers": followers, "empty": np.nan, "country": country}),
        "vectors": (vectors[:, :2], vectors[:, 2:]),
    }
    fields["learnable"] = fields["split"] == "train"
    return BaselineRows(**fields | changes)


def predict(rows):
    return baseline_predictions(rows, NUMERIC, CATEGORICAL, seed=1, threads=1)


def test_each_explains_what_it_can_see():
    rows = make()
    found = predict(rows)
    assert set(found) == set(Baseline)
    test = rows.split == "test"
    r2 = {name: r2_score(rows.target[test], values[test]) for name, values in found.items()}
    assert abs(r2[Baseline.TRAIN_MEAN]) < 0.05
    assert 0.6 < r2[Baseline.RIDGE_LOG_COUNTS] < r2[Baseline.PLAIN_TREES]
    assert len(set(found[Baseline.TRAIN_MEAN])) == 1


def test_labels_of_val_and_test_teach_nothing():
    rows = make()
    train = rows.split == "train"
    # Val stops the trees, so only the test part's labels may change for them; all the others see neither.
    for part, names in (("test", [*Baseline]), ("val", [name for name in Baseline if name != Baseline.PLAIN_TREES])):
        target = np.where(rows.split == part, rows.target + 100, rows.target)
        assert (target[train] == rows.target[train]).all()
        other = predict(BaselineRows(**{**vars(rows), "target": target}))
        for name in names:
            np.testing.assert_array_equal(other[name], predict(rows)[name])


def test_naive_guesses_of_the_test_part_learn_what_refitted_models_learn():
    rows = make()
    refitted = BaselineRows(**{**vars(rows), "learnable": rows.split != "test"})
    before, after = predict(rows), predict(refitted)
    test = rows.split == "test"
    np.testing.assert_allclose(after[Baseline.TRAIN_MEAN][test], rows.target[~test].mean())
    for name in Baseline:
        np.testing.assert_array_equal(before[name][~test], after[name][~test])
    assert (before[Baseline.CREATOR_MEAN][test] != after[Baseline.CREATOR_MEAN][test]).any()


def test_of_many_rows_some_train_the_trees(monkeypatch):
    rows = make()
    whole = predict(rows)[Baseline.PLAIN_TREES]
    monkeypatch.setattr(baselines, "_MOST_ROWS", 200)
    monkeypatch.setattr(baselines, "BLOCK_ROWS", 64)
    some = predict(rows)[Baseline.PLAIN_TREES]
    assert (some != whole).any()
    assert r2_score(rows.target[rows.split == "test"], some[rows.split == "test"]) > 0.5


def history(published, captured, creators, labels, split=None):
    n = len(labels)
    return BaselineRows(
        split=np.array(split or n * ["train"], dtype=object),
        target=np.array(labels, dtype=np.float64),
        provenance=pd.DataFrame({"creator": creators, "published_at": published, "captured_at": captured}),
        metadata=pd.DataFrame(index=range(n)),
        vectors=(np.zeros((n, 1), np.float32),),
        learnable=np.array(split or n * ["train"], dtype=object) == "train",
    )


def test_a_creators_label_counts_once_it_was_known():
    #                      known on day 7   known on day 17   published on day 16 and on day 17
    rows = history(
        days([0, 10, 16, 17]), days([7, 17, 23, 24]), ["a", "a", "a", "a"], [10.0, 12.0, 0.0, 0.0],
        ["train", "train", "test", "test"],
    )  # fmt: skip
    means = creator_means(rows, rows.split == "train")
    mean, shrinkage = 11.0, 1.0  # one creator alone: nothing says how much creators differ
    assert means[:2] == pytest.approx([mean, mean + (10 - mean) / (1 + shrinkage)])
    assert means[2] == pytest.approx(mean + (10 - mean) / (1 + shrinkage))
    assert means[3] == pytest.approx(mean + (10 + 12 - 2 * mean) / (2 + shrinkage))


def test_creators_who_differ_are_believed_more_than_those_who_do_not():
    n = 200
    creators = 2 * [f"c{number // 10}" for number in range(n)]
    # The first half is known long before the second half, of the same creators, is published.
    published, captured = (days(np.r_[np.arange(n), np.full(n, 1000)] + later) for later in (0, 7))
    is_learnt = np.arange(2 * n) < n
    offsets = np.tile(np.repeat(np.random.default_rng(1).normal(0, 3, n // 10), 10), 2)
    noise = np.random.default_rng(2).normal(0, 1, 2 * n)
    late = history(published, captured, creators, 8 + offsets + noise)
    assert np.corrcoef(creator_means(late, is_learnt)[n:], offsets[n:])[0, 1] > 0.98
    flat = history(published, captured, creators, 8 + noise)
    assert creator_means(flat, is_learnt)[n:].std() < 0.25


def test_unknown_times_and_creators_are_the_mean():
    nat = np.full(3, np.datetime64("NaT", "us"))
    rows = history(nat, days([1, 2, 3]), ["a", "a", "b"], [1.0, 2.0, 6.0])
    assert creator_means(rows, rows.split == "train").tolist() == [3.0, 3.0, 3.0]
    rows = history(days([9, 9, 9]), nat, ["a", "a", "b"], [1.0, 2.0, 6.0])
    assert creator_means(rows, rows.split == "train").tolist() == [3.0, 3.0, 3.0]
