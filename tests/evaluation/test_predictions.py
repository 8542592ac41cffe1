import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.conformal import IntervalModel
from clipfarm_tasks.evaluation.predictions import family_metrics, join_predictions, predictions_frame, with_interval

INTERVALS = IntervalModel(centres=(0.0,), spreads=(1.0,), multiple=2.0, level=0.8)


def finished(rows, family, values):
    return with_interval(predictions_frame(rows, {family: np.array(values)}), family, INTERVALS)


@pytest.fixture
def rows() -> pd.DataFrame:
    raw = np.array([0.0, 10.0, 500.0, 1e6])
    ids, text = ["a", "b", "c", "d"], [1, 0, 1, 1]
    return pd.DataFrame({"video_id": ids, "text_present": text, "target_log": np.log1p(raw), "target_raw": raw})


def test_views_are_those_of_the_clipped_prediction_and_never_negative(rows):
    frame = predictions_frame(rows, {"ridge": np.array([-50.0, -0.1, 2.0, 1e30])})
    np.testing.assert_allclose(frame["pred_ridge_raw"], [0, 0, math.e**2 - 1, math.e**30 - 1])
    np.testing.assert_array_equal(frame["pred_ridge_log"], [-50.0, -0.1, 2.0, 1e30])


def test_frame_has_the_contract_columns(rows):
    frame = predictions_frame(rows, {"ridge": np.array([1, 2, 3, 4], dtype=np.float32)})
    expected = ["video_id", "text_present", "y_true_log", "y_true_raw", "pred_ridge_log", "pred_ridge_raw"]
    assert list(frame.columns) == expected
    np.testing.assert_allclose(frame["pred_ridge_raw"], [math.exp(p) - 1 for p in (1, 2, 3, 4)])
    np.testing.assert_array_equal(frame["y_true_raw"], rows["target_raw"])


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        ({"ridge": np.zeros(3)}, r"expected \(4,\) predictions, one per row, got \(3,\), in ridge"),
        (
            {"ridge": np.array([0, np.nan, np.inf, 0])},
            "expected finite predictions, got 2 of 4 NaN or infinite, in ridge",
        ),
        ({"lasso": np.zeros(4)}, r"expected one or more of the families .*, got \['lasso'\]"),
        ({}, r"expected one or more of the families .*, got \[\]"),
    ],
)
def test_unusable_predictions_are_refused(rows, predicted, message):
    with pytest.raises(DataError, match=message):
        predictions_frame(rows, predicted)


def test_join_aligns_by_video_whatever_the_row_order(rows):
    ridge = finished(rows, "ridge", [1.0, 2.0, 3.0, 4.0])
    gbdt = finished(rows, "gbdt", [5.0, 6.0, 7.0, 8.0]).iloc[[2, 0, 3, 1]]
    joined = join_predictions({"gbdt": gbdt, "ridge": ridge}, "val")
    assert [name for name in joined.columns if name.endswith("_log")] == [
        "y_true_log",
        "pred_ridge_log",
        "pred_gbdt_log",
    ]
    by_id = joined.set_index("video_id")
    np.testing.assert_allclose(by_id["pred_ridge_low"], [0, 0, math.e - 1, math.e**2 - 1], atol=1e-12)
    np.testing.assert_allclose(np.log1p(by_id["pred_gbdt_high"]), [7, 8, 9, 10])
    assert by_id["pred_ridge_log"].to_dict() == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert by_id["pred_gbdt_log"].to_dict() == {"a": 5, "b": 6, "c": 7, "d": 8}


def other_video(frame):
    return frame.assign(video_id=["a", "b", "c", "x"])


def other_truth(frame):
    return frame.assign(y_true_log=frame["y_true_log"] + [0, 0, 1e-12, 0])


def other_text(frame):
    return frame.assign(text_present=[1, 1, 1, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_video, "expected the same videos in both, once each, got 4 and 4 rows with 3 videos in common"),
        (lambda frame: frame.iloc[:3], "got 3 and 4 rows with 3 videos in common, in gbdt and ridge, test"),
        (lambda frame: frame.iloc[[0, 1, 2, 3, 3]], "expected the same videos in both, once each, got 5 and 4 rows"),
        (
            other_truth,
            "expected the same y_true_log in both, got 1 differing rows, the first being 'c', in gbdt and ridge",
        ),
        (other_text, "expected the same text_present in both, got 1 differing rows, the first being 'b'"),
        (lambda frame: frame.drop(columns="pred_gbdt_raw"), r"got none of \['pred_gbdt_raw'\], in gbdt, test"),
    ],
)
def test_join_refuses_jobs_that_saw_other_rows(rows, change, message):
    ridge = finished(rows, "ridge", np.zeros(4))
    gbdt = change(finished(rows, "gbdt", np.zeros(4)))
    with pytest.raises(DataError, match=message):
        join_predictions({"ridge": ridge, "gbdt": gbdt}, "test")


def test_metrics_are_those_of_the_named_family_and_part(rows):
    joined = predictions_frame(rows, {"ridge": np.array([1.0, 2.0, 3.0, 4.0]), "gbdt": np.array([4.0, 3.0, 9.0, 1.0])})
    found = family_metrics({"val": joined, "test": joined.iloc[:2]}, ["ridge", "gbdt"])
    assert found["gbdt"]["val"]["r2_log"] == pytest.approx(r2_score(rows["target_log"], [4, 3, 9, 1]))
    assert found["ridge"]["test"]["mae_log"] == pytest.approx(mean_absolute_error(rows["target_log"][:2], [1, 2]))
