"""Which part each row belongs to."""

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.config import SplitStrategy
from clipfarm_tasks.data.split import split_at_random, split_chronologically, split_rows
from clipfarm_tasks.errors import ConfigError, DataError

RATIOS = (0.70, 0.15, 0.15)
WHERE = "concat_7d"


def counts(parts):
    return [int((parts == part).sum()) for part in ("train", "val", "test")]


def test_random_split_follows_numpys_shuffle():
    n, order = 101, np.arange(101)
    np.random.default_rng(42).shuffle(order)
    parts = split_at_random(n, RATIOS, 42, WHERE)
    assert set(np.flatnonzero(parts == "train")) == set(order[:70])
    assert set(np.flatnonzero(parts == "val")) == set(order[70:85])
    assert set(np.flatnonzero(parts == "test")) == set(order[85:])


def test_same_seed_same_split_other_seed_other_split():
    assert (split_at_random(50, RATIOS, 1, WHERE) == split_at_random(50, RATIOS, 1, WHERE)).all()
    assert (split_at_random(50, RATIOS, 1, WHERE) != split_at_random(50, RATIOS, 2, WHERE)).any()


@pytest.mark.parametrize("ratios", [RATIOS, (0.98, 0.01, 0.01), (0.01, 0.98, 0.01), (0.01, 0.01, 0.98)])
@pytest.mark.parametrize("n", [12, 13, 20, 1000])
def test_every_part_has_a_row_and_every_row_a_part(n, ratios):
    sizes = counts(split_at_random(n, ratios, 0, WHERE))
    assert min(sizes) >= 1
    assert sum(sizes) == n


def test_chronological_split_tests_on_the_newest():
    n = 40
    shuffled = np.random.default_rng(7).permutation(n)
    ids = np.array([f"v{i:02d}" for i in range(n)], dtype=object)
    times = np.array([f"2026-01-01T00:{minute:02d}:00+00:00" for minute in shuffled], dtype=object)
    parts = split_chronologically(times, ids, RATIOS, WHERE)
    assert shuffled[parts == "train"].max() < shuffled[parts == "val"].min()
    assert shuffled[parts == "val"].max() < shuffled[parts == "test"].min()
    assert counts(parts) == [28, 6, 6]


def test_chronological_split_reads_offsets_and_orders_ties_by_id():
    times = np.array(
        ["2026-01-02T00:00:00+14:00", "2026-01-01T11:00:00Z", *["2026-01-01T12:00:00Z"] * 10], dtype=object
    )
    ids = np.array([f"v{i:02d}" for i in range(12)], dtype=object)  # v00 is 10:00 UTC
    parts = split_chronologically(times, ids, (0.1, 0.1, 0.8), WHERE)
    assert parts.tolist() == ["train", "val", *["test"] * 10]
    ties = split_chronologically(times[::-1], ids[::-1], (0.5, 0.25, 0.25), WHERE)
    assert ties[::-1].tolist() == ["train"] * 6 + ["val"] * 3 + ["test"] * 3


def test_a_missing_time_is_older_than_any_time():
    times = np.array([*["2026-01-01"] * 11, None], dtype=object)
    ids = np.array([f"v{i:02d}" for i in range(12)], dtype=object)
    assert split_chronologically(times, ids, (0.1, 0.1, 0.8), WHERE)[11] == "train"


@pytest.mark.parametrize("dtype", [object, "str"])
def test_dispatch_by_strategy(dtype):
    ids = [f"v{i:02d}" for i in range(20)]
    frame = pd.DataFrame({"video_id": ids, "captured_at": ["2026-01-01", None, *["2026-02-01"] * 18]}).astype(dtype)
    random = split_rows(frame, SplitStrategy.RANDOM, RATIOS, 3, WHERE)
    assert (random == split_at_random(20, RATIOS, 3, WHERE)).all()
    chronological = split_rows(frame, SplitStrategy.CHRONOLOGICAL, RATIOS, 3, WHERE)
    assert chronological.tolist() == ["train"] * 14 + ["val"] * 3 + ["test"] * 3


def test_too_few_rows():
    with pytest.raises(DataError, match="expected at least 12 rows to split, got 11, in concat_7d"):
        split_at_random(11, RATIOS, 0, WHERE)


@pytest.mark.parametrize("ratios", [(0.7, 0.2, 0.2), (0.5, 0.2, 0.2), (1.0, 0.0, 0.0), (1.2, -0.1, -0.1)])
def test_bad_ratios(ratios):
    with pytest.raises(
        ConfigError, match=r"expected positive train_ratio \+ val_ratio \+ test_ratio = 1, got .*in concat"
    ):
        split_at_random(100, ratios, 0, WHERE)
