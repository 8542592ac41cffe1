import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.evaluation.slice_membership import LARGEST, memberships
from clipfarm_tasks.slice_limits import CLOSED, Dimension


def sliced(split=None, **columns):
    n = len(next(iter(columns.values())))
    rows = pd.DataFrame(
        {
            "video_id": [f"v{i}" for i in range(n)],
            "split": split or ["train"] * n,
            "text_present": 1,
            "creator": [f"c{i}" for i in range(n)],
        }
    )
    rows = rows.assign(**{name: values for name, values in columns.items() if name in rows})
    return memberships(rows, pd.DataFrame({name: values for name, values in columns.items() if name not in rows}))


@pytest.mark.parametrize(
    ("column", "dimension", "values", "names"),
    [
        (
            "channel_subscriber_count",
            Dimension.CHANNEL_SIZE,
            [0, 999, 1000, 99_999, 1e6, np.nan],
            ["under_1000", "under_1000", "from_1000", "from_10000", "from_1000000", "(missing)"],
        ),
        (
            "duration_seconds",
            Dimension.DURATION,
            [14.9, 15, 59, 60, np.nan],
            ["under_15", "from_15", "from_30", "from_60", "(missing)"],
        ),
        (
            "published_hour",
            Dimension.HOUR,
            [0, 5, 6, 17, 18, 23, np.nan],
            ["00-05", "00-05", "06-11", "12-17", "18-23", "18-23", "(missing)"],
        ),
    ],
)
def test_numbers_fall_into_bins_that_hold_their_lower_edge(column, dimension, values, names):
    found = sliced(**{column: values})[dimension]
    assert found.of_video.tolist() == names
    assert set(names) <= set(found.names) == set(CLOSED[dimension])


def test_a_creator_is_seen_if_the_train_part_has_another_of_his_videos():
    found = sliced(["train", "val", "test", "test"], creator=["a", "b", "a", "b"], text_present=[0, 1, 1, 0])
    assert found[Dimension.CREATOR].of_video.to_dict() == {"v0": "seen", "v1": "unseen", "v2": "seen", "v3": "unseen"}
    assert found[Dimension.TEXT_PRESENT].of_video.tolist() == ["0", "1", "1", "0"]


def test_the_largest_values_of_the_train_part_have_their_own_slice():
    train = [f"country {number:02d}" for number in range(12) for _ in range(1 + (number == 11))]
    values = [*train, None, "country 05", "country 10"] + ["new"] * 20
    found = sliced(["train"] * 13 + ["test"] * 23, channel_country=values)[Dimension.COUNTRY]
    # The eleventh has two rows; of those with one, the first nine by name.
    largest = ("country 11", *(f"country {number:02d}" for number in range(LARGEST - 1)))
    assert found.names == (*largest, "(other)", "(missing)")
    assert found.of_video.tolist()[12:17] == ["country 11", "(missing)", "country 05", "(other)", "(other)"]
    assert found.of_video["v9"] == "(other)"


def test_a_value_called_like_another_slice_is_not_counted_there():
    values = ["(other)", "(missing)", "((other)", "other", None]
    found = sliced(["train"] * 4 + ["test"], query=values)[Dimension.QUERY]
    assert found.of_video.tolist() == ["((other)", "((missing)", "(((other)", "other", "(missing)"]
    assert len(set(found.names)) == 6


def test_what_is_no_feature_is_no_dimension():
    assert set(sliced(title_length=[1.0, 2.0])) == {Dimension.TEXT_PRESENT, Dimension.CREATOR}
    assert set(sliced(default_language=["en", None])) >= {Dimension.LANGUAGE}
