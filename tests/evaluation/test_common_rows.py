"""Strategies are judged on the rows that all of them have."""

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.common_rows import common_rows

RNG = np.random.default_rng(0)
TRUTH = dict(zip("abcdefgh", RNG.uniform(0, 10, 8), strict=True))
COLUMNS = {"concat.ridge": "pred_ridge_log", "sum_pool.gbdt": "pred_gbdt_log"}
NOBODY, NOTHING = pd.Series([], dtype=object), pd.DataFrame()


def predictions(ids, column):
    frame = pd.DataFrame({"video_id": list(ids), "y_true_log": [TRUTH[name] for name in ids]})
    return frame.assign(**{column: frame["y_true_log"] + RNG.normal(size=len(frame))})


@pytest.fixture
def frames():
    return {
        "concat.ridge": {"val": predictions("abc", "pred_ridge_log"), "test": predictions("defgh", "pred_ridge_log")},
        "sum_pool.gbdt": {"val": predictions("bca", "pred_gbdt_log"), "test": predictions("hgfe", "pred_gbdt_log")},
    }


def test_rows_that_one_job_lacks_count_for_none_and_all_stand_in_one_order(frames):
    rows = common_rows(frames, COLUMNS, NOBODY, NOTHING)
    for part, ids in (("val", "abc"), ("test", "efgh")):
        assert rows[part].target_log.tolist() == [TRUTH[name] for name in ids]
        for job, column in COLUMNS.items():
            expected = frames[job][part].set_index("video_id").loc[list(ids), column]
            assert rows[part].predicted_log[job].tolist() == expected.tolist()


def test_one_job_alone_is_judged_on_all_its_rows(frames):
    only = common_rows({"concat.ridge": frames["concat.ridge"]}, COLUMNS, NOBODY, NOTHING)
    assert {part: len(rows.target_log) for part, rows in only.items()} == {"val": 3, "test": 5}


def test_without_a_common_row_there_is_nothing_to_judge(frames):
    frames["sum_pool.gbdt"]["test"] = predictions("a", "pred_gbdt_log")
    rows = common_rows(frames, COLUMNS, NOBODY, NOTHING)
    assert {part: len(found.target_log) for part, found in rows.items()} == {"val": 3, "test": 0}


def test_no_finished_job_at_all():
    baselines = pd.DataFrame({"train_mean": 1.0}, index=list("abc"))
    for rows in common_rows({}, COLUMNS, NOBODY, baselines).values():
        assert (len(rows.target_log), rows.predicted_log) == (0, {})


def test_baselines_are_judged_on_the_same_rows_and_a_video_without_a_creator_is_its_own(frames):
    creators = pd.Series({"e": "one", "f": "one", "g": "two"})
    baselines = pd.DataFrame({"train_mean": np.arange(7.0)}, index=list("bacefgh"))
    test = common_rows(frames, COLUMNS, creators, baselines)["test"]
    assert test.creators.tolist() == ["one", "one", "two", "h"]
    assert test.predicted_log["train_mean"].tolist() == [3.0, 4.0, 5.0, 6.0]
    less = common_rows(frames, COLUMNS, creators, baselines.drop("g"))["test"]
    assert less.target_log.tolist() == [TRUTH[name] for name in "efh"]


def test_jobs_that_were_judged_by_different_labels_of_a_video_are_not_compared(frames):
    rows = frames["sum_pool.gbdt"]["test"]
    rows.loc[rows["video_id"] == "f", "y_true_log"] = 11.5
    message = rf"got 11.5 in sum_pool.gbdt and {TRUTH['f']} in concat.ridge, for video f of the test part"
    with pytest.raises(DataError, match=message):
        common_rows(frames, COLUMNS, NOBODY, NOTHING)
