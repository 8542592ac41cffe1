"""leaderboard.csv: the families of a snapshot, ranked."""

from collections.abc import Mapping

import pandas as pd

from clipfarm_tasks.config import RankMetric
from clipfarm_tasks.evaluation.ranking import METRIC_COLUMNS, PartMetrics, flatten, rank_families


def leaderboard_frame(metrics: Mapping[str, PartMetrics], rank_metric: RankMetric) -> pd.DataFrame:
    """One row per family, best first: rank, model, `METRIC_COLUMNS`; an undefined metric is NaN (empty in CSV)."""
    order = rank_families(metrics, rank_metric)
    rows = [{"rank": rank, "model": name, **flatten(metrics[name])} for rank, name in enumerate(order, start=1)]
    frame = pd.DataFrame(rows, columns=["rank", "model", *METRIC_COLUMNS])
    return frame.astype(dict.fromkeys(METRIC_COLUMNS, "float64"))
