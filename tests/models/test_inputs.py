import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.models.inputs import known_numbers


def test_a_slice_is_a_view_with_metadata_of_its_own_numbering(videos):
    part = videos.rows.slice(30, 50)
    assert len(part) == 20
    for name in ("text_present", "fused", "video", "audio", "text"):
        array = getattr(part, name)
        np.testing.assert_array_equal(array, getattr(videos.rows, name)[30:50])
        assert np.shares_memory(array, getattr(videos.rows, name))
    assert part.metadata.index.tolist() == list(range(20))
    assert part.metadata["duration"].tolist() == videos.rows.metadata["duration"].tolist()[30:50]


@pytest.mark.parametrize(("start", "stop", "rows"), [(0, 0, 0), (0, 200, 200), (190, 1000, 10)])
def test_a_slice_may_be_empty_or_reach_past_the_end(videos, start, stop, rows):
    part = videos.rows.slice(start, stop)
    assert (len(part), len(part.metadata), len(part.fused)) == (rows, rows, rows)


def test_numbers_that_float32_cannot_square_are_missing():
    cells = [1.0, -1e15, 2e15, np.inf, -1e300, np.nan]
    numbers = known_numbers(pd.DataFrame({"views": cells, "country": "US"}), ["views"])
    np.testing.assert_array_equal(numbers[:, 0], [1.0, -1e15, *4 * [np.nan]])
    assert np.isfinite(np.square(numbers[:2].astype(np.float32))).all()
