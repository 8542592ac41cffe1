"""slices.json: how well a model does on each slice of the videos, and how sure that is."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clipfarm_tasks.evaluation.bootstrap import interval, resampled_rmse
from clipfarm_tasks.evaluation.conformal import IntervalModel
from clipfarm_tasks.evaluation.json_safe import json_safe
from clipfarm_tasks.evaluation.metrics import F64, regression_metrics
from clipfarm_tasks.evaluation.slice_membership import LARGEST, Membership
from clipfarm_tasks.slice_limits import EDGES, Dimension, SliceMetric

LEAST_ROWS = 20
"""Rows below which a slice is only counted: a handful of errors says nothing of the next ones."""

INTERVAL = "rmse_log_interval"


def slices_document(
    parts: Mapping[str, pd.DataFrame],
    creators: Mapping[str, "pd.Series[str]"],
    slices: Mapping[Dimension, Membership],
    family: str,
    model: IntervalModel,
    seed: int,
) -> dict[str, Any]:
    """JSON-safe.

    Args:
        parts: predictions frames by part (val, test).
        creators: whose video each row is, by part, in the order of the frames.
        slices: see `memberships`.
        family: whose predictions to judge.
        model: its prediction intervals.
        seed: of the resamples.

    Returns:
        ``least_rows``; ``edges`` of the bins of numbers, by dimension; ``largest``: how many values of a category have
        their own slice; ``models``: by family, part, dimension and slice: ``n``, and where that is at least
        ``least_rows``, the five of `SliceMetric` beside it and ``rmse_log_interval`` (95 %, [low, high]; null with
        fewer than 20 creators). ``bias_log`` is the mean of prediction less label; ``coverage`` and ``mean_width_log``
        are those of the prediction intervals, null where there are none.
    """
    return {
        "least_rows": LEAST_ROWS,
        "edges": {str(dimension): list(edges) for dimension, edges in EDGES.items()},
        "largest": LARGEST,
        "models": {
            family: {part: _part(frame, creators[part], slices, family, model, seed) for part, frame in parts.items()}
        },
    }


def merged_slices(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The documents of several models of a pair in one; nothing out of nothing, as in a run of an earlier release.

    Args:
        documents: by family.
    """
    written = {family: document for family, document in documents.items() if document}
    models = {family: document["models"][family] for family, document in written.items()}
    return {**next(iter(written.values())), "models": models} if written else {}


def worst_slices(document: Mapping[str, Any], family: str, count: int = 3) -> list[dict[str, Any]]:
    """The slices of the test part with the largest rmse_log, worst first: dimension, slice, and what is known of it.

    Args:
        document: content of slices.json; empty of a run of an earlier release.
        family: whose.
        count: how many at most.
    """
    dimensions = document.get("models", {}).get(family, {}).get("test", {})
    judged = [
        {"dimension": dimension, "slice": name, **found}
        for dimension, slices in dimensions.items()
        for name, found in slices.items()
        if found.get(SliceMetric.RMSE_LOG) is not None
    ]
    return sorted(judged, key=lambda found: (-found[SliceMetric.RMSE_LOG], found["dimension"], found["slice"]))[:count]


def _part(
    frame: pd.DataFrame,
    creators: "pd.Series[str]",
    slices: Mapping[Dimension, Membership],
    family: str,
    model: IntervalModel,
    seed: int,
) -> dict[str, dict[str, Any]]:
    target = frame["y_true_log"].to_numpy(np.float64)
    predicted = frame[f"pred_{family}_log"].to_numpy(np.float64)
    named = [(dimension, name) for dimension, slices_of in slices.items() for name in slices_of.names]
    inside = _inside(frame["video_id"], slices, named)
    samples = resampled_rmse(predicted - target, creators, inside, seed)
    document: dict[str, dict[str, Any]] = {str(dimension): {} for dimension in slices}
    for position, (dimension, name) in enumerate(named):
        rows = inside[:, position]
        found: dict[str, Any] = {"n": int(rows.sum())}
        if found["n"] >= LEAST_ROWS:
            found |= _quality(target[rows], predicted[rows], model)
            found[INTERVAL] = interval(samples[:, position])
        document[str(dimension)][name] = json_safe(found)
    return document


def _inside(
    video_ids: "pd.Series[str]", slices: Mapping[Dimension, Membership], named: Sequence[tuple[Dimension, str]]
) -> NDArray[np.bool_]:
    """(N, S) whether each video is in each slice."""
    of_row = {dimension: slices_of.of_video.loc[video_ids].to_numpy() for dimension, slices_of in slices.items()}
    return np.stack([of_row[dimension] == name for dimension, name in named], axis=1).astype(np.bool_)


def _quality(target: F64, predicted: F64, model: IntervalModel) -> dict[str, float]:
    metrics = regression_metrics(target, predicted)
    low, high = model.bounds_log(predicted)
    promised = np.isfinite(model.multiple)
    return {
        SliceMetric.RMSE_LOG: metrics["rmse_log"],
        SliceMetric.MAE_LOG: metrics["mae_log"],
        SliceMetric.R2_LOG: metrics["r2_log"],
        SliceMetric.BIAS_LOG: float(np.mean(predicted - target)),
        SliceMetric.COVERAGE: float(np.mean((low <= target) & (target <= high))) if promised else np.nan,
        SliceMetric.WIDTH_LOG: float(np.mean(high - low)) if promised else np.nan,
    }
