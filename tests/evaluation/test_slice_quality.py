import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from clipfarm_tasks.evaluation.conformal import IntervalModel, fit_intervals
from clipfarm_tasks.evaluation.predictions import predictions_frame
from clipfarm_tasks.evaluation.slice_membership import Membership
from clipfarm_tasks.evaluation.slice_quality import LEAST_ROWS, _quality, merged_slices, slices_document, worst_slices
from clipfarm_tasks.evaluation.uncertainty import uncertainty
from clipfarm_tasks.slice_limits import EDGES, Dimension

RNG = np.random.default_rng(5)
N = 200
NAMES = ["all but few"] * (N - LEAST_ROWS - 19) + ["enough"] * LEAST_ROWS + ["too few"] * 19


@pytest.fixture
def parts():
    truth = RNG.normal(8, 2, N)
    rows = pd.DataFrame(
        {"video_id": [f"v{i}" for i in range(N)], "text_present": 1, "target_log": truth, "target_raw": np.expm1(truth)}
    )
    noise = RNG.normal(0.3, np.where(np.arange(N) < 100, 0.5, 2.0))
    frame = predictions_frame(rows, {"ridge": truth + noise})
    return {"val": frame, "test": frame.sample(frac=1, random_state=1)}


@pytest.fixture
def model(parts):
    return fit_intervals(parts["val"]["y_true_log"].to_numpy(), parts["val"]["pred_ridge_log"].to_numpy())


def creators_of(parts):
    creator = pd.Series([f"c{i % 80}" for i in range(N)], index=[f"v{i}" for i in range(N)])
    return {part: creator[frame["video_id"]] for part, frame in parts.items()}


def document(parts, model, names=None):
    videos = [f"v{i}" for i in range(N)]
    slices = {
        Dimension.CREATOR: Membership(("seen", "unseen"), pd.Series("seen", index=videos)),
        Dimension.QUERY: Membership(
            ("all but few", "enough", "too few", "none"), pd.Series(names or NAMES, index=videos)
        ),
    }
    return slices_document(parts, creators_of(parts), slices, "ridge", model, seed=3)


@pytest.mark.parametrize("part", ["val", "test"])
def test_each_slice_is_judged_by_its_own_rows_whatever_their_order(parts, model, part):
    found = document(parts, model)["models"]["ridge"][part]["query"]["all but few"]
    inside = parts[part][parts[part]["video_id"].isin([f"v{i}" for i in range(N - 39)])]
    truth, predicted = inside["y_true_log"], inside["pred_ridge_log"]
    low, high = model.bounds_log(predicted.to_numpy())
    assert {name: value for name, value in found.items() if name != "rmse_log_interval"} == pytest.approx(
        {
            "n": N - 39,
            "rmse_log": root_mean_squared_error(truth, predicted),
            "mae_log": mean_absolute_error(truth, predicted),
            "r2_log": r2_score(truth, predicted),
            "bias_log": predicted.mean() - truth.mean(),
            "coverage": truth.between(low, high).mean(),
            "mean_width_log": (high - low).mean(),
        }
    )


def test_the_interval_of_a_slice_that_holds_everything_is_that_of_the_metric(parts, model):
    told = uncertainty(parts, creators_of(parts), "ridge", model, seed=3)["intervals"]
    found = document(parts, model)["models"]["ridge"]
    for part in ("val", "test"):
        assert found[part]["creator"]["seen"]["rmse_log_interval"] == pytest.approx(told[part]["rmse_log"])


def test_a_small_slice_is_only_counted(parts, model):
    found = document(parts, model)["models"]["ridge"]["test"]
    assert found["query"]["too few"] == {"n": LEAST_ROWS - 1}
    assert found["query"]["none"] == found["creator"]["unseen"] == {"n": 0}
    assert found["query"]["enough"]["n"] == LEAST_ROWS
    assert found["query"]["enough"]["rmse_log"] > 0


def test_few_creators_promise_no_interval(parts, model):
    # 20 creators have the first 20 rows; the following 20 are of the same 19 and one of these.
    names = ["enough" if i % 80 < 19 else "all but few" for i in range(N)]
    found = document(parts, model, names)["models"]["ridge"]["test"]["query"]
    assert found["enough"]["n"] == 57
    assert found["enough"]["rmse_log_interval"] is None
    low, high = found["all but few"]["rmse_log_interval"]
    assert low < found["all but few"]["rmse_log"] < high


def test_intervals_that_promise_nothing_are_null(parts):
    nothing = fit_intervals(np.zeros(2), np.zeros(2))
    found = document(parts, nothing)
    json.dumps(found, allow_nan=False)
    assert found["models"]["ridge"]["test"]["creator"]["seen"]["coverage"] is None
    assert found["models"]["ridge"]["test"]["creator"]["seen"]["mean_width_log"] is None


def test_both_ends_of_an_interval_are_inside():
    ends = IntervalModel((0.0,), (1.0,), multiple=1.0, level=0.8)
    assert _quality(np.array([1.0, 3.0, 3.5, 0.5]), np.full(4, 2.0), ends)["coverage"] == 0.5


def test_the_document_says_how_slices_are_cut(parts, model):
    found = document(parts, model)
    assert {name: found[name] for name in found if name != "models"} == {
        "least_rows": 20,
        "edges": {dimension.value: list(edges) for dimension, edges in EDGES.items()},
        "largest": 10,
    }


def test_three_are_the_worst_unless_asked_for_others():
    slices = {str(number): {"rmse_log": float(number)} for number in range(5)}
    found = {"models": {"ridge": {"test": {"query": slices}}}}
    assert [each["slice"] for each in worst_slices(found, "ridge")] == ["4", "3", "2"]


def test_the_worst_come_first_and_small_ones_never(parts, model):
    found = document(parts, model)
    worst = worst_slices(found, "ridge", 2)
    test = found["models"]["ridge"]["test"]
    assert worst == [
        {"dimension": "query", "slice": "enough", **test["query"]["enough"]},
        {"dimension": "creator", "slice": "seen", **test["creator"]["seen"]},
    ]
    assert worst_slices({}, "ridge") == []


def test_a_pair_has_the_models_of_its_jobs(parts, model):
    one = document(parts, model)
    other = {**one, "models": {"gbdt": one["models"]["ridge"]}}
    merged = merged_slices({"ridge": one, "gbdt": other, "old": {}})
    assert merged == {**one, "models": {"ridge": one["models"]["ridge"], "gbdt": one["models"]["ridge"]}}
    assert merged_slices({"old": {}}) == {}
