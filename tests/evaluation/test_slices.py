import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from clipfarm_tasks.evaluation.predictions import predictions_frame
from clipfarm_tasks.evaluation.slices import slice_metrics


@pytest.fixture
def frame() -> pd.DataFrame:
    raw = np.array([3.0, 10.0, 500.0, 90.0, 7.0])
    rows = pd.DataFrame(
        {
            "video_id": list("abcde"),
            "text_present": [1, 0, 1, 0, 1],
            "target_log": np.log1p(raw),
            "target_raw": raw,
        }
    )
    return predictions_frame(rows, {"ridge": np.arange(5.0), "gbdt": np.arange(5.0)[::-1]})


def test_each_slice_is_judged_by_its_own_rows(frame):
    document = slice_metrics({"val": frame, "test": frame.iloc[:3]}, ["ridge", "gbdt"])
    assert {f: {p: list(s) for p, s in parts.items()} for f, parts in document.items()} == {
        family: {part: ["text_present_1", "text_present_0"] for part in ("val", "test")} for family in ("ridge", "gbdt")
    }
    with_text = document["gbdt"]["val"]["text_present_1"]
    truth = frame["y_true_log"].iloc[[0, 2, 4]]
    assert with_text["n"] == 3
    assert with_text["rmse_log"] == pytest.approx(root_mean_squared_error(truth, [4, 2, 0]))
    without = document["ridge"]["val"]["text_present_0"]
    assert without["mae_raw"] == pytest.approx(mean_absolute_error([10, 90], np.expm1([1, 3])))
    assert document["ridge"]["test"]["text_present_0"]["n"] == 1


def test_an_empty_slice_holds_only_its_count(frame):
    document = slice_metrics({"val": frame[frame["text_present"] == 1]}, ["ridge"])
    assert document["ridge"]["val"]["text_present_0"] == {"n": 0}
    assert set(document["ridge"]["val"]["text_present_1"]) == {
        "rmse_log",
        "mae_log",
        "r2_log",
        "rmse_raw",
        "mae_raw",
        "n",
    }


def test_r2_of_a_slice_of_one_row_is_null(frame):
    document = slice_metrics({"val": frame.iloc[:2]}, ["ridge"])
    one = json.loads(json.dumps(document, allow_nan=False))["ridge"]["val"]["text_present_0"]
    assert (one["n"], one["r2_log"]) == (1, None)
    assert one["rmse_log"] == pytest.approx(abs(np.log1p(10.0) - 1.0))
