"""Strategies are judged on the rows that all of them have."""

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.common_rows import on_common_rows
from clipfarm_tasks.evaluation.metrics import regression_metrics

RNG = np.random.default_rng(0)
TRUTH = dict(zip("abcdefgh", RNG.uniform(0, 10, 8), strict=True))


def predictions(ids, column):
    frame = pd.DataFrame({"video_id": list(ids), "y_true_log": [TRUTH[name] for name in ids]})
    return frame.assign(**{column: frame["y_true_log"] + RNG.normal(size=len(frame))})


@pytest.fixture
def frames():
    return {
        "concat.ridge": {"val": predictions("abc", "pred_ridge_log"), "test": predictions("defgh", "pred_ridge_log")},
        "sum_pool.gbdt": {"val": predictions("bca", "pred_gbdt_log"), "test": predictions("hgfe", "pred_gbdt_log")},
    }


COLUMNS = {"concat.ridge": "pred_ridge_log", "sum_pool.gbdt": "pred_gbdt_log"}


def test_rows_that_one_job_lacks_count_for_none(frames):
    common = on_common_rows(frames, COLUMNS)
    assert common.counts == {"val": 3, "test": 4}
    for job, column in COLUMNS.items():
        rows = frames[job]["test"].query("video_id in ['e', 'f', 'g', 'h']")
        assert common.metrics[job]["test"] == regression_metrics(rows["y_true_log"], rows[column])


def test_one_job_alone_is_judged_on_all_its_rows(frames):
    only = on_common_rows({"concat.ridge": frames["concat.ridge"]}, COLUMNS)
    assert only.counts == {"val": 3, "test": 5}


def test_without_a_common_row_every_metric_is_undefined(frames):
    frames["sum_pool.gbdt"]["test"] = predictions("a", "pred_gbdt_log")
    common = on_common_rows(frames, COLUMNS)
    assert common.counts["test"] == 0
    assert set(common.metrics["concat.ridge"]["test"].values()) == {None}
    assert None not in common.metrics["concat.ridge"]["val"].values()


def test_jobs_that_were_judged_by_different_labels_of_a_video_are_not_compared(frames):
    rows = frames["sum_pool.gbdt"]["test"]
    rows.loc[rows["video_id"] == "f", "y_true_log"] = 11.5
    message = rf"got 11.5 in sum_pool.gbdt and {TRUTH['f']} in concat.ridge, for video f of the test part"
    with pytest.raises(DataError, match=message):
        on_common_rows(frames, COLUMNS)


def test_no_finished_job_at_all():
    assert on_common_rows({}, COLUMNS).counts == {"val": 0, "test": 0}
