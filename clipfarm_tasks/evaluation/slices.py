"""slice_metrics_text_present.json: the five metrics apart for videos with and without text."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from clipfarm_tasks.evaluation.json_safe import json_safe
from clipfarm_tasks.evaluation.metrics import regression_metrics

SLICES = {"text_present_1": 1, "text_present_0": 0}


def slice_metrics(parts: Mapping[str, pd.DataFrame], families: Sequence[str]) -> dict[str, Any]:
    """``{family: {part: {slice: the five metrics and n}}}``, JSON-safe; an empty slice holds only ``n: 0``.

    Args:
        parts: predictions frames by part (val, test), as `predictions_frame` or `join_predictions` returns them.
        families: whose predictions to judge.
    """
    return {
        family: {
            part: {name: _metrics(frame[frame["text_present"] == flag], family) for name, flag in SLICES.items()}
            for part, frame in parts.items()
        }
        for family in families
    }


def _metrics(rows: pd.DataFrame, family: str) -> dict[str, Any]:
    if rows.empty:
        return {"n": 0}
    metrics = regression_metrics(rows["y_true_log"].to_numpy(), rows[f"pred_{family}_log"].to_numpy())
    safe: dict[str, Any] = json_safe(metrics)
    return {**safe, "n": len(rows)}
