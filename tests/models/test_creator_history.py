import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.models.creator_history import CreatorHistory


def provenance(*rows):
    """Of (creator, day of publication, day of capture); None: unreadable."""
    frame = pd.DataFrame(rows, columns=["creator", "published_at", "captured_at"])
    start = pd.Timestamp("2026-01-01")
    for name in ("published_at", "captured_at"):
        days = pd.to_timedelta(frame[name].astype("float64"), unit="D")
        frame[name] = (start + days).astype("datetime64[us]")
    return frame


def test_a_video_is_told_what_was_known_of_its_creator_when_it_was_published():
    learnt = provenance(("a", 0, 7), ("a", 1, 8), ("a", 5, 12), ("b", 0, 7), ("b", 2, 9), ("c", 3, 10))
    target = np.array([4.0, 6.0, 8.0, 1.0, 2.0, 3.0])
    history = CreatorHistory.fit(learnt, target)
    overall = target.mean()
    found = history(provenance(("a", 10, 17), ("a", 7.5, 14), ("a", 6, 13), ("new", 20, 27), ("b", 30, 37)))
    np.testing.assert_array_equal(found[:, 0], [2, 1, 0, 0, 2])
    known = {0: [4.0, 6.0], 1: [4.0], 2: [], 3: [], 4: [1.0, 2.0]}
    for row, labels in known.items():
        expected = (sum(labels) + history.shrinkage * overall) / (len(labels) + history.shrinkage)
        assert found[row, 1] == pytest.approx(expected)
    np.testing.assert_allclose(found[:, 2], [2, 0.5, np.nan, np.nan, 21])


def test_no_label_of_a_video_reaches_its_own_columns():
    learnt = provenance(("a", 0, 7), ("a", 3, 3), ("a", 9, 8), ("a", 20, 27))
    for row in range(4):
        target = np.zeros(4)
        before = CreatorHistory.fit(learnt, target)(learnt)[row]
        target[row] = 10
        after = CreatorHistory.fit(learnt, target)(learnt)[row]
        assert before[0] == after[0]
        # The overall mean, towards which a mean is shrunk, holds the label too, as that of any column does.
        shift = after[1] - before[1]
        assert abs(shift) <= 10 / 4 + 1e-9


def test_all_labels_that_became_known_at_one_time_count():
    history = CreatorHistory.fit(provenance(("a", 0, 7), ("a", 1, 7), ("b", 0, 7)), np.array([1.0, 2.0, 6.0]))
    assert history.labels.columns.tolist() == ["creator", "time", "sum", "count"]
    ((count, mean, days),) = history(provenance(("a", 9, 16)))
    assert (count, days) == (2, 2)
    assert mean == pytest.approx((1.0 + 2.0 + history.shrinkage * 3.0) / (2 + history.shrinkage))


def test_labels_of_which_nobody_knows_when_they_were_known_are_in_no_history():
    learnt = provenance(("a", 0, None), ("a", 5, 5), ("a", 5, 4), ("a", None, 6))
    found = CreatorHistory.fit(learnt, np.ones(4))(provenance(("a", 30, 37), ("a", None, 37)))
    np.testing.assert_array_equal(found[:, 0], [1, 0])


def test_a_saved_history_answers_the_same(tmp_path):
    rng = np.random.default_rng(0)
    rows = provenance(*((f"c{rng.integers(30)}", day, day + 7) for day in rng.uniform(0, 100, 200)))
    history = CreatorHistory.fit(rows, rng.normal(size=200))
    history.save(tmp_path / "history.arrow")
    loaded = CreatorHistory.load(tmp_path / "history.arrow")
    np.testing.assert_array_equal(loaded(rows), history(rows))
    assert loaded.labels.columns.tolist() == history.labels.columns.tolist()


def test_shrinkage_is_that_of_a_one_way_analysis_of_variance():
    """By the moments, Searle, Casella and McCulloch, "Variance Components" (1992), section 3.6, unbalanced data."""
    rng = np.random.default_rng(4)
    groups = [rng.normal(mean, 1.5, size) for mean, size in zip((3.0, 5.0, 9.0, 4.0), (2, 7, 3, 1), strict=True)]
    target, n = np.concatenate(groups), sum(map(len, groups))
    names = [name for name, group in zip("abcd", groups, strict=True) for _ in group]
    rows = provenance(*((name, 0, 7 + day) for day, name in enumerate(names)), ("a", 0, None))
    history = CreatorHistory.fit(rows, np.append(target, 90.0))  # of the last label nobody knows when it was known
    within = sum(((group - group.mean()) ** 2).sum() for group in groups) / (n - 4)
    among = sum(len(group) * (group.mean() - target.mean()) ** 2 for group in groups) / (4 - 1)
    between = (among - within) / ((n - sum(len(group) ** 2 for group in groups) / n) / (4 - 1))
    assert history.shrinkage == pytest.approx(within / between)


@pytest.mark.parametrize("creators", ["aaaa", "abcd"])
def test_where_nothing_says_how_much_creators_differ_the_mean_counts_for_one_label(creators):
    rows = provenance(*((name, 0, 7 + day) for day, name in enumerate(creators)))
    assert CreatorHistory.fit(rows, np.arange(4.0)).shrinkage == 1.0


def test_shrinkage_stays_finite_where_variances_vanish():
    rows = provenance(*((name, 0, 7 + day) for day, name in enumerate("aabb")))
    assert CreatorHistory.fit(rows, np.ones(4)).shrinkage == pytest.approx(1.0)  # nobody differs from anybody
    # Creators with the same mean: the variance between them counts as at least a thousandth of that within.
    assert CreatorHistory.fit(rows, np.array([1.0, 2.0, 1.0, 2.0])).shrinkage == pytest.approx(1000.0)
    # Creators that never vary: the variance within counts as at least 1e-12.
    within = CreatorHistory.fit(rows, np.array([1.0, 1.0, 2.0, 2.0])).shrinkage
    assert within == pytest.approx(1e-12 / 0.5)


def test_where_creators_do_not_differ_their_means_count_for_little():
    rng = np.random.default_rng(1)
    rows = provenance(*((f"c{number % 50}", number / 10, number / 10 + 7) for number in range(500)))
    offsets = rng.normal(size=50)[np.arange(500) % 50]
    alike, unlike = rng.normal(size=500), 3 * offsets + 0.1 * rng.normal(size=500)
    assert CreatorHistory.fit(rows, unlike).shrinkage < 0.1
    assert CreatorHistory.fit(rows, alike).shrinkage > 5
