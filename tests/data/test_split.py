"""Which part each row belongs to."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.config import RunParams
from clipfarm_tasks.data.split import (
    creators_of,
    split_at_random,
    split_by_creator,
    split_chronologically,
    split_rows,
)
from clipfarm_tasks.errors import ConfigError, DataError
from clipfarm_tasks.families import Horizon

RATIOS = (0.70, 0.15, 0.15)
WHERE = "concat_7d"


def counts(parts):
    return [int((parts == part).sum()) for part in ("train", "val", "test")]


def videos(n, prefix="v"):
    return np.array([f"{prefix}{number:05d}" for number in range(n)], dtype=object)


def test_random_split_is_the_order_of_the_hashes():
    ids = videos(101)
    order = sorted(ids, key=lambda name: hashlib.blake2b(f"42:{name}".encode(), digest_size=8).hexdigest())
    parts = split_at_random(ids, RATIOS, 42, WHERE)
    assert set(ids[parts == "train"]) == set(order[:70])
    assert set(ids[parts == "val"]) == set(order[70:85])
    assert set(ids[parts == "test"]) == set(order[85:])


def test_random_split_looks_random():
    parts = split_at_random(videos(4000), RATIOS, 1, WHERE)
    for half in (parts[:2000], parts[2000:]):
        np.testing.assert_allclose(np.array(counts(half)) / 2000, RATIOS, atol=0.03)


def test_a_video_less_moves_at_most_one_row_over_each_border():
    ids = videos(2000)
    whole = dict(zip(ids, split_at_random(ids, RATIOS, 42, WHERE), strict=True))
    for gone in (0, 700, 1400, 1999):
        left = np.delete(ids, gone)
        parts = dict(zip(left, split_at_random(left, RATIOS, 42, WHERE), strict=True))
        assert sum(parts[name] != whole[name] for name in left) <= 2


def test_growth_moves_only_rows_at_the_borders():
    ids = videos(2000)
    before = split_at_random(ids, RATIOS, 42, WHERE)
    after = split_at_random(np.concatenate([ids, videos(200, "new")]), RATIOS, 42, WHERE)[:2000]
    assert (before != after).mean() < 0.03
    assert set(before[before == "test"]) | set(after[before == "test"]) <= {"test", "val"}  # none went to train


def test_order_of_the_rows_means_nothing():
    ids = videos(300)
    shuffled = np.random.default_rng(0).permutation(300)
    parts = split_at_random(ids, RATIOS, 7, WHERE)
    assert (split_at_random(ids[shuffled], RATIOS, 7, WHERE) == parts[shuffled]).all()


def test_same_seed_same_split_other_seed_other_split():
    ids = videos(50)
    assert (split_at_random(ids, RATIOS, 1, WHERE) == split_at_random(ids, RATIOS, 1, WHERE)).all()
    assert (split_at_random(ids, RATIOS, 1, WHERE) != split_at_random(ids, RATIOS, 2, WHERE)).any()


@pytest.mark.parametrize("ratios", [RATIOS, (0.98, 0.01, 0.01), (0.01, 0.98, 0.01), (0.01, 0.01, 0.98)])
@pytest.mark.parametrize("n", [12, 13, 20, 1000])
def test_every_part_has_a_row_and_every_row_a_part(n, ratios):
    sizes = counts(split_at_random(videos(n), ratios, 0, WHERE))
    assert min(sizes) >= 1
    assert sum(sizes) == n


@pytest.mark.parametrize(
    ("ratios", "sizes"),
    [((0.98, 0.01, 0.01), [10, 1, 1]), ((0.01, 0.98, 0.01), [1, 10, 1]), ((0.5, 0.5, 1e-10), [5, 6, 1])],
)
def test_the_larger_of_train_and_val_gives_a_row_to_test_and_no_more(ratios, sizes):
    assert counts(split_at_random(videos(12), ratios, 0, WHERE)) == sizes


@pytest.mark.parametrize("n", [40, 400])
def test_chronological_split_is_the_order_of_times_and_ids(n):
    rng = np.random.default_rng(n)
    ids, days = rng.permutation(videos(n)), rng.integers(1, 4, n)
    times = np.array([f"2026-01-{day:02d}" for day in days], dtype=object)
    parts = split_chronologically(times, ids, RATIOS, WHERE, 0)
    assert parts.dtype == object
    order = sorted(range(n), key=lambda row: (days[row], ids[row]))
    test, val = order[-round(0.15 * n) :], order[-round(0.3 * n) : -round(0.15 * n)]
    assert sorted(np.flatnonzero(parts == "test")) == sorted(test)
    assert sorted(np.flatnonzero(parts == "val")) == sorted(val)


def test_chronological_split_tests_on_the_newest():
    n = 40
    shuffled = np.random.default_rng(7).permutation(n)
    ids = np.array([f"v{i:02d}" for i in range(n)], dtype=object)
    times = np.array([f"2026-01-01T00:{minute:02d}:00+00:00" for minute in shuffled], dtype=object)
    parts = split_chronologically(times, ids, RATIOS, WHERE, 0)
    assert shuffled[parts == "train"].max() < shuffled[parts == "val"].min()
    assert shuffled[parts == "val"].max() < shuffled[parts == "test"].min()
    assert counts(parts) == [28, 6, 6]


def test_chronological_split_reads_offsets_and_orders_ties_by_id():
    times = np.array(
        ["2026-01-02T00:00:00+14:00", "2026-01-01T11:00:00Z", *["2026-01-01T12:00:00Z"] * 10], dtype=object
    )
    ids = np.array([f"v{i:02d}" for i in range(12)], dtype=object)  # v00 is 10:00 UTC
    parts = split_chronologically(times, ids, (0.1, 0.1, 0.8), WHERE, 0)
    assert parts.tolist() == ["train", "val", *["test"] * 10]
    ties = split_chronologically(times[::-1], ids[::-1], (0.5, 0.25, 0.25), WHERE, 0)
    assert ties[::-1].tolist() == ["train"] * 6 + ["val"] * 3 + ["test"] * 3


def test_a_row_without_a_time_is_in_no_part():
    times = np.array([*["2026-01-01"] * 12, None, "soon", np.nan], dtype=object)
    parts = split_chronologically(times, videos(15), RATIOS, WHERE, 0)
    assert parts[12:].tolist() == ["no_capture_time"] * 3
    assert sum(counts(parts)) == 12


def test_no_time_at_all_is_no_chronological_split():
    with pytest.raises(DataError, match="at least 12 rows to split, got 0, in concat_7d: rows with a readable capt"):
        split_chronologically(np.full(40, None), videos(40), RATIOS, WHERE, 0)


@pytest.mark.parametrize("embargo", [0, 7, 30])
def test_every_train_label_was_known_when_the_first_test_video_was_published(embargo):
    start = np.datetime64("2026-01-01T00:00:00")
    captured = start + np.arange(400) * np.timedelta64(6, "h")
    parts = split_chronologically(captured.astype(str).astype(object), videos(400), RATIOS, WHERE, embargo)
    published = captured - np.timedelta64(embargo, "D")
    assert captured[parts == "train"].max() <= published[parts == "test"].min()
    # No row more than that is left out, and val and test lose none.
    assert (parts == "embargo").sum() == max(0, embargo * 4 - 60 - 1)
    assert counts(parts)[1:] == [60, 60]


def test_captures_within_a_shorter_time_than_the_embargo_are_refused():
    with pytest.raises(DataError, match=r"7 days .* before the first test row, got none to train, in conc"):
        split_chronologically(np.full(40, "2026-01-01", dtype=object), videos(40), RATIOS, WHERE, 7)


def creators(n, each):
    return np.array([f"c{number // each}" for number in range(n)], dtype=object)


@pytest.mark.parametrize("each", [1, 7])
def test_no_creator_is_in_two_parts_and_the_ratios_are_kept(each):
    parts = split_by_creator(creators(1000, each), RATIOS, 42, WHERE)
    frame = pd.DataFrame({"creator": creators(1000, each), "part": parts})
    assert len(frame.drop_duplicates()) == frame["creator"].nunique()
    assert counts(parts) == pytest.approx([700, 150, 150], abs=each)


def test_where_a_creator_goes_depends_on_its_own_id_alone():
    before = split_by_creator(creators(1000, 4), RATIOS, 42, WHERE)
    after = split_by_creator(creators(1000, 4)[8:], RATIOS, 42, WHERE)
    assert (before[8:] != after).sum() <= 2 * 4 * 3  # two borders, each by the creators that are no longer before it
    order = np.random.default_rng(0).permutation(1000)
    again = split_by_creator(creators(1000, 4)[order], RATIOS, 42, WHERE)
    assert (again == before[order]).all()
    other = split_by_creator(creators(1000, 4), RATIOS, 43, WHERE)
    assert 0.3 < (other != before).mean() < 0.7


@pytest.mark.parametrize("seed", range(20))
def test_a_large_creator_leaves_every_part_its_own(seed):
    giant = np.array(["giant"] * 38 + ["a", "b"], dtype=object)
    assert sorted(counts(split_by_creator(giant, RATIOS, seed, WHERE))) == [1, 1, 38]
    fifth = np.array(["giant"] * 20 + [f"c{number}" for number in range(80)], dtype=object)
    found = counts(split_by_creator(fifth, RATIOS, seed, WHERE))
    assert found == pytest.approx([70, 15, 15], abs=11)  # a border within the giant moves by half of it at most


def test_two_creators_cannot_be_split():
    with pytest.raises(DataError, match="expected at least 3 creators to split, got 2, in concat_7d"):
        split_by_creator(creators(20, 10), RATIOS, 0, WHERE)


def test_a_video_without_a_channel_is_the_only_one_of_its_creator():
    channels = pd.Series(["c1", None, "c1", np.nan], dtype="str")
    assert creators_of(channels, pd.Series(["a", "b", "c", "d"])).tolist() == ["c1", "video b", "c1", "video d"]


@pytest.mark.parametrize("dtype", [object, "str"])
def test_dispatch_by_strategy(dtype):
    times = [f"2026-{1 + number // 20:02d}-{1 + number % 20:02d}" for number in range(60)]
    frame = pd.DataFrame({"video_id": videos(60), "captured_at": times, "creator": creators(60, 3)}).astype(dtype)
    by_creator = split_rows(frame, RunParams(split_strategy="creator", seed=3), Horizon.D7, WHERE)
    assert (by_creator == split_by_creator(creators(60, 3), RATIOS, 3, WHERE)).all()
    random = split_rows(frame, RunParams(seed=3), Horizon.D7, WHERE)
    assert (random == split_at_random(videos(60), RATIOS, 3, WHERE)).all()
    parts = {
        days: split_rows(frame, RunParams(split_strategy="chronological", embargo_days=days), Horizon.D7, WHERE)
        for days in (None, 7, 20)
    }
    assert (parts[None] == parts[7]).all()  # the horizon
    assert (parts[20] == "embargo").sum() > (parts[7] == "embargo").sum()


@pytest.mark.parametrize("strategy", ["random", "creator", "chronological"])
def test_what_cannot_be_split_is_named(strategy):
    frame = pd.DataFrame({"video_id": videos(11), "captured_at": "2026-01-01", "creator": creators(11, 1)})
    with pytest.raises(DataError, match=f"expected at least 12 rows to split, got 11, in {WHERE}"):
        split_rows(frame, RunParams(split_strategy=strategy), Horizon.D7, WHERE)


def test_too_few_rows():
    with pytest.raises(DataError, match="expected at least 12 rows to split, got 11, in concat_7d"):
        split_at_random(videos(11), RATIOS, 0, WHERE)


def test_ratios_that_do_not_add_up_are_told():
    with pytest.raises(ConfigError, match=r"got 0\.7 \+ 0\.2 \+ 0\.2 = 1\.1, in concat_7d"):
        split_at_random(videos(100), (0.7, 0.2, 0.2), 0, WHERE)


@pytest.mark.parametrize("ratios", [(0.7, 0.2, 0.2), (0.5, 0.2, 0.2), (1.0, 0.0, 0.0), (1.2, -0.1, -0.1)])
def test_bad_ratios(ratios):
    with pytest.raises(
        ConfigError, match=r"expected positive train_ratio \+ val_ratio \+ test_ratio = 1, got .*in concat"
    ):
        split_at_random(videos(100), ratios, 0, WHERE)
