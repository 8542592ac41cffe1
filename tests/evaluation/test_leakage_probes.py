"""Every leakage probe finds the leak that was planted, and lets the same rows pass without it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu, spearmanr

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.evaluation.leakage_report import Probe, Verdict
from clipfarm_tasks.evaluation.moved_counters import moved_counters
from clipfarm_tasks.evaluation.parts_told_apart import parts_told_apart
from clipfarm_tasks.evaluation.shuffled_labels import shuffled_labels
from clipfarm_tasks.evaluation.single_features import MIN_ROWS, single_features
from clipfarm_tasks.evaluation.twins import MAX_TWINS, repeated_ids, twins

N = 1000
LIMIT = 0.9
SEED = 3


@pytest.fixture
def rows():
    """(metadata, target, video ids, parts, vectors) of honest rows: features that say something, gaps, categories."""
    rng = np.random.default_rng(0)
    target = rng.normal(8, 2, N)
    metadata = pd.DataFrame(
        {
            "channel_view_count": np.exp(target + rng.normal(0, 2, N)),
            "duration_seconds": np.where(rng.random(N) < 0.1, np.nan, rng.integers(5, 60, N)),
            "has_hashtags": rng.integers(0, 2, N).astype(float),
            "thumb_width": 720.0,
            "channel_age_days": np.nan,
            "query": [f"search {number}" for number in rng.integers(0, 300, N)],
            "default_language": rng.choice(np.array(["en", "hi", None], dtype=object), N),
        }
    )
    metadata["query"] = metadata["query"].astype(object)
    parts = rng.permutation(np.repeat(np.array(["train", "val", "test"], dtype=object), [700, 150, 150]))
    ids = np.array([f"vid{number:04d}" for number in range(N)], dtype=object)
    vectors = tuple(rng.normal(size=(N, width)).astype("f4") for width in (4, 3, 5))
    return SimpleNamespace(metadata=metadata, target=target, ids=ids, parts=parts, vectors=vectors, rng=rng)


# A video in two parts.


def test_ids_in_one_part_are_clean_and_a_repeated_one_is_a_leak(rows):
    assert repeated_ids(rows.ids, rows.parts).verdict is Verdict.CLEAN
    train, test = (np.flatnonzero(rows.parts == part)[0] for part in ("train", "test"))
    rows.ids[test] = rows.ids[train]
    found = repeated_ids(rows.ids, rows.parts)
    assert (found.verdict, found.names, found.measured) == (Verdict.LEAK, (rows.ids[train],), 1)
    assert f"expected every video once and in one part, got 1 in 1 ({rows.ids[train]} " in found.says


def make_twins(rows, part, earlier, count):
    """Give the first rows of a part the vectors of rows of another; returns their ids."""
    copies, originals = (np.flatnonzero(rows.parts == name)[:count] for name in (part, earlier))
    for vectors in rows.vectors:
        vectors[copies] = vectors[originals]
    return set(rows.ids[copies])


@pytest.mark.parametrize(("part", "earlier"), [("test", "train"), ("test", "val"), ("val", "train")])
def test_more_than_a_hundredth_of_twins_is_a_leak_and_fewer_are_noted(rows, part, earlier):
    few = make_twins(rows, part, earlier, 1)
    noted = twins(rows.ids, rows.parts, rows.vectors)
    assert (noted.verdict, set(noted.names), noted.count) == (Verdict.NOTED, few, 1)
    many = make_twins(rows, part, earlier, 2)
    found = twins(rows.ids, rows.parts, rows.vectors)
    assert (found.verdict, set(found.names)) == (Verdict.LEAK, many)
    assert found.measured == pytest.approx(2 / 150)
    assert found.measured > MAX_TWINS > noted.measured


def test_who_shares_two_of_three_vectors_or_a_part_is_no_twin(rows):
    test, train = (np.flatnonzero(rows.parts == part)[:20] for part in ("test", "train"))
    for vectors in rows.vectors[:2]:
        vectors[test] = vectors[train]
    for vectors in rows.vectors:
        vectors[test[10:]] = vectors[test[10]]
    found = twins(rows.ids, rows.parts, rows.vectors)
    assert (found.verdict, found.measured, found.count) == (Verdict.CLEAN, 0, 0)


def test_a_text_that_both_lack_is_equal_and_nothing_at_all_is_not(rows):
    lacking = make_twins(rows, "test", "train", 5)
    text = rows.vectors[2]
    text[np.isin(rows.ids, list(lacking))] = -0.0
    text[np.flatnonzero(rows.parts == "train")[:5]] = 0.0
    assert set(twins(rows.ids, rows.parts, rows.vectors).names) == lacking
    for vectors in rows.vectors:
        vectors[:] = 0.0
    assert twins(rows.ids, rows.parts, rows.vectors).verdict is Verdict.CLEAN


def test_twins_in_distant_blocks_of_a_memory_map_are_found(tmp_path):
    n = 3000
    vectors = np.memmap(tmp_path / "vectors", dtype="f4", mode="w+", shape=(n, 4))
    vectors[:] = np.random.default_rng(0).normal(size=(n, 4))
    vectors[-1] = vectors[0]
    parts = np.repeat(np.array(["train", "val", "test"], dtype=object), [2800, 100, 100])
    found = twins(np.arange(n).astype(str).astype(object), parts, (vectors, vectors))
    assert found.names == ("2999",)


# A feature that tells the target.


def features(rows, **changes):
    value, missing = single_features(rows.metadata.assign(**changes), rows.target, LIMIT)
    assert (value.probe, missing.probe) == (Probe.SINGLE_FEATURE, Probe.MISSINGNESS)
    return value, missing


def test_honest_features_are_clean(rows):
    value, missing = features(rows)
    assert (value.verdict, missing.verdict) == (Verdict.CLEAN, Verdict.CLEAN)
    expected = abs(spearmanr(rows.metadata["channel_view_count"], rows.target).statistic)
    assert value.measured == pytest.approx(expected)
    assert 0.6 < expected < LIMIT


def leaks_of(rows):
    noise = rows.rng.normal(0, 0.3, N)
    return {
        "rising": np.exp(rows.target + noise),
        "falling": -rows.target + noise,
        "with gaps": np.where(rows.rng.random(N) < 0.8, np.nan, rows.target),
        "not monotone": np.where(rows.target < 8, rows.target + 100, rows.target),
        "category": np.array([f"about {value:.0f}" for value in rows.target], dtype=object),
        "two values": (rows.target > 10).astype(float),
    }


@pytest.mark.parametrize("kind", ["rising", "falling", "with gaps", "not monotone", "category", "two values"])
def test_a_feature_that_tells_the_target_is_named(rows, kind):
    value, missing = features(rows, leaking=leaks_of(rows)[kind])
    assert (value.verdict, value.names) == (Verdict.LEAK, ("leaking",))
    assert value.measured > LIMIT
    assert f"max_feature_explains = 0.9 of the target (ranks), got {value.measured:.3g} in 1 (leaking" in value.says
    assert "exclude_features" in value.says
    assert missing.verdict is Verdict.CLEAN


def test_two_values_are_judged_by_the_area_under_the_curve(rows):
    flag = (rows.target + rows.rng.normal(0, 1, N) > 10).astype(float)
    u = mannwhitneyu(rows.target[flag == 1], rows.target[flag == 0]).statistic
    expected = 2 * u / ((flag == 1).sum() * (flag == 0).sum()) - 1
    value, _ = single_features(pd.DataFrame({"flag": flag}), rows.target, LIMIT)
    assert value.measured == pytest.approx(expected)


def test_a_feature_that_is_missing_where_the_target_is_low_is_named(rows):
    gap = np.where(rows.target < 6, np.nan, rows.rng.normal(size=N))
    value, missing = features(rows, leaking=gap)
    assert (missing.verdict, missing.names, missing.measured) == (Verdict.LEAK, ("leaking",), pytest.approx(1.0))
    assert value.verdict is Verdict.CLEAN
    texts = np.where(rows.target < 6, None, "yes").astype(object)
    assert features(rows, leaking=texts)[1].names == ("leaking",)


def test_categories_of_one_row_each_and_a_few_rows_tell_nothing(rows):
    few = np.where(np.arange(N) < MIN_ROWS - 1, rows.target, np.nan)
    alone = np.array([f"{value}" for value in rows.target], dtype=object)
    rare = (rows.target >= np.sort(rows.target)[-15]).astype(float)
    value, _ = features(rows, few=few, alone=alone, rare=rare)
    assert value.verdict is Verdict.CLEAN
    small = rows.metadata.head(30), rows.target[:30]
    assert [found.verdict for found in single_features(*small, LIMIT)] == [Verdict.UNKNOWN] * 2


def test_the_limit_is_the_param(rows):
    value, _ = single_features(rows.metadata, rows.target, 0.5)
    assert (value.verdict, value.names) == (Verdict.LEAK, ("channel_view_count",))


# Labels in random order.


def group_means(rows, learnt):
    """A learner: the mean label of a search's videos among those that it may see."""

    def predict(target):
        means = pd.Series(target[learnt]).groupby(rows.metadata["query"].to_numpy()[learnt]).mean()
        guess = means.reindex(rows.metadata["query"]).fillna(target[learnt].mean()).to_numpy()
        return {"group_means": guess, "constant": np.zeros(N)}

    return predict


def test_who_learns_from_train_predicts_no_shuffled_labels(rows):
    is_test = rows.parts == "test"
    found = [shuffled_labels(group_means(rows, ~is_test), rows.target, is_test, seed) for seed in range(20)]
    assert {one.verdict for one in found} == {Verdict.CLEAN}
    # The limit is four standard deviations of the coefficients that chance gives.
    assert found[0].limit == pytest.approx(4 * np.std([one.measured for one in found]), rel=0.5)


def test_who_sees_the_labels_of_test_is_found(rows):
    is_test = rows.parts == "test"
    found = shuffled_labels(group_means(rows, np.ones(N, bool)), rows.target, is_test, SEED)
    assert (found.verdict, found.names) == (Verdict.LEAK, ("group_means",))
    assert "do not trust this run" in found.says


def test_nobody_knows_where_everything_is_predicted_the_same(rows):
    found = shuffled_labels(lambda target: {"mean": np.zeros(N)}, rows.target, rows.parts == "test", SEED)
    assert (found.verdict, found.measured) == (Verdict.UNKNOWN, None)


# Parts that can be told apart.


def test_parts_of_a_random_split_cannot_be_told_apart(rows):
    areas = []
    for seed in range(20):
        parts = np.random.default_rng(seed).permutation(rows.parts)
        found = parts_told_apart(rows.metadata, parts == "test", seed)
        assert found.verdict is Verdict.CLEAN
        areas.append(found.measured)
    assert np.mean(areas) == pytest.approx(0.5, abs=0.02)
    assert found.limit - 0.5 == pytest.approx(4 * np.std(areas), rel=0.5)


@pytest.mark.parametrize("kind", ["shifted", "spread", "missing", "category"])
def test_a_feature_that_differs_in_test_is_named(rows, kind):
    is_test = rows.parts == "test"
    noise = rows.rng.normal(size=N)
    values = {
        "shifted": noise + 2 * is_test,
        "spread": noise * np.where(is_test, 5, 1),
        "missing": np.where(is_test & (noise > 0), np.nan, noise),
        "category": np.where(is_test & (noise > 0), "new", "old").astype(object),
    }
    found = parts_told_apart(rows.metadata.assign(differing=values[kind]), is_test, SEED)
    assert (found.verdict, found.names[0]) == (Verdict.LEAK, "differing")
    assert found.measured > found.limit
    assert "exclude_features" in found.says


def test_too_few_rows_of_test_tell_nothing(rows):
    is_test = np.arange(N) < 39
    found = parts_told_apart(rows.metadata.assign(differing=is_test.astype(float)), is_test, SEED)
    assert (found.verdict, found.measured) == (Verdict.UNKNOWN, None)


# Counters that were read later.


def report(compared, **moved):
    return SimpleNamespace(captures_compared=compared, counters_moved=moved)


def test_a_counter_that_moved_is_a_leak_where_features_are_said_to_be_early():
    moved = report(8, channel_video_count=0.25, channel_view_count=0.75)
    found = moved_counters(moved, FeatureSet.V3)
    names = ("channel_view_count", "channel_video_count")
    assert (found.verdict, found.measured, found.names) == (Verdict.LEAK, 0.75, names)
    for latest in (FeatureSet.V1_TRAINING_SUITE, FeatureSet.V2_LOG_COUNTS):
        noted = moved_counters(moved, latest)
        assert (noted.verdict, noted.measured, noted.names) == (Verdict.NOTED, 0.75, names)


@pytest.mark.parametrize("feature_set", FeatureSet)
def test_counters_that_stood_still_are_clean_and_one_capture_tells_nothing(feature_set):
    assert moved_counters(report(8), feature_set).verdict is Verdict.CLEAN
    assert moved_counters(report(0), feature_set).verdict is Verdict.UNKNOWN
    assert moved_counters(report(None), feature_set) is None
