"""leaderboard.csv: the families of a snapshot, ranked."""

from collections.abc import Mapping

import pandas as pd

from clipfarm_tasks.evaluation.ranking import METRICS, PARTS, PartMetrics, flatten, rank_families

COLUMNS = ("rank", "model", *(f"{part}_{metric}" for part in PARTS for metric in METRICS))


def leaderboard(metrics: Mapping[str, PartMetrics], rank_metric: str) -> pd.DataFrame:
    """One row per family, best first, columns `COLUMNS`; an undefined metric is NaN (an empty cell in CSV).

    Args:
        metrics: by family.
        rank_metric: ``val_<metric>``.

    Raises:
        ConfigError: ``rank_metric`` is unknown.
    """
    order = rank_families(metrics, rank_metric)
    rows = [{"rank": rank, "model": name, **flatten(metrics[name])} for rank, name in enumerate(order, start=1)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype(dict.fromkeys(COLUMNS[2:], "float64"))
