"""The rows of a pair."""

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.data.join import join_pair
from clipfarm_tasks.errors import DataError

WHERE = "concat_7d"


def labels(ids, dtype=object):
    frame = pd.DataFrame({"video_id": pd.Series(ids, dtype=dtype), "split": pd.Series(["val"] * len(ids), dtype=dtype)})
    raw = np.arange(len(ids), dtype=float)
    return frame.assign(target_raw=raw, target_log=np.log1p(raw), creator=[f"creator of {name}" for name in ids])


def modalities(ids, present=None, dtype=object):
    return pd.DataFrame(
        {"video_id": pd.Series(ids, dtype=dtype), "text_present": np.array(present or [1] * len(ids), "i1")}
    )


@pytest.mark.parametrize("dtype", [object, "str"])
def test_inner_join_sorted_by_video_with_every_loss_counted(dtype):
    joined = join_pair(
        labels(["d", "c", "a", "b", "e"], dtype),
        ["a", "b", "c", "x", "y"],
        modalities(["c", "a", "e", "x"], [0, 1, 1, 1], dtype),
        WHERE,
    )
    assert joined.frame.columns.tolist() == [
        *("video_id", "split", "text_present", "target_log", "target_raw", "creator"),
    ]
    assert joined.frame.index.tolist() == [0, 1]
    assert joined.frame["text_present"].dtype == "int64"
    assert joined.frame["creator"].tolist() == ["creator of a", "creator of c"]
    assert joined.frame["video_id"].tolist() == ["a", "c"]
    assert joined.frame["text_present"].tolist() == [1, 0]
    assert joined.frame["target_raw"].tolist() == [2.0, 1.0]
    assert joined.dropped == {"no_metadata": 2, "no_fused_vector": 2, "no_modality_vectors": 1}


def test_nothing_lost_nothing_counted():
    assert join_pair(labels(["a"]), ["a"], modalities(["a"]), WHERE).dropped == {}


def test_empty_join_says_what_each_side_had():
    with pytest.raises(DataError, match="got none in common of 2 labelled, 3 fused and 1 modality ids, in concat_7d"):
        join_pair(labels(["a", "b"]), ["c", "d", "e"], modalities(["a"]), WHERE)


@pytest.mark.parametrize("side", ["metadata", "fused vectors", "modality vectors"])
def test_a_repeated_video_is_refused(side):
    ids = {each: ["a", "b"] + ["a"] * (each == side) for each in ("metadata", "fused vectors", "modality vectors")}
    with pytest.raises(DataError, match=f"expected each video once in {side}, got 'a' repeated, in concat_7d"):
        join_pair(labels(ids["metadata"]), ids["fused vectors"], modalities(ids["modality vectors"]), WHERE)
