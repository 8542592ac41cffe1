"""Features out of what was known about a creator when a video was published: labels of earlier videos."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from clipfarm_tasks.data.computed_features import LEARNT
from clipfarm_tasks.models.arrow_file import read_arrow, write_arrow
from clipfarm_tasks.models.inputs import F64

COLUMNS = LEARNT["creator_history"]
"""How many labels of the creator were known, their smoothed mean, and the days since the last one became known."""

_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class CreatorHistory:
    """The labels of each creator in the order they became known.

    Attributes:
        labels: a row for each creator and time (datetime64[us]) at which labels became known: ``sum`` and ``count`` of
            all labels by then, less ``overall`` each.
        overall: mean of all labels.
        shrinkage: how many labels the overall mean counts for.
    """

    labels: pd.DataFrame
    overall: float
    shrinkage: float

    @classmethod
    def fit(cls, provenance: pd.DataFrame, target: F64) -> Self:
        """Learn from N videos.

        The mean of n labels counts n / (n + k), where k is the variance within creators over that between them (the
        empirical Bayes estimator of a one-way model with random effects). A label without a readable time of capture,
        or captured before its video was published, is not part of a history: nobody knows when it was known.

        Args:
            provenance: N rows as `ModelInputs.provenance`.
            target: (N,) float64 target_log.
        """
        overall = float(target.mean())
        captured_at, published_at = provenance["captured_at"], provenance["published_at"]
        usable = (captured_at.notna() & ~(captured_at <= published_at)).to_numpy()
        known = pd.DataFrame(
            {
                "creator": provenance["creator"][usable].astype("str"),
                "time": captured_at[usable].astype("datetime64[us]"),
                "label": target[usable] - overall,
            }
        ).sort_values("time", kind="stable")
        shrinkage = _shrinkage(known["label"].to_numpy(), known["creator"].to_numpy(object))
        groups = known.groupby("creator")["label"]
        known["sum"], known["count"] = groups.cumsum(), groups.cumcount() + 1
        # The last row of a time holds all labels of the creator that were known by then.
        known = known.drop_duplicates(["creator", "time"], keep="last")
        return cls(known[["creator", "time", "sum", "count"]].reset_index(drop=True), overall, shrinkage)

    def __call__(self, provenance: pd.DataFrame) -> F64:
        """(N, 3) float64 `COLUMNS` of N videos, from labels that were known when each was published.

        Of a creator without such labels, or a video without a readable time of publication: no labels, the overall
        mean, and NaN.
        """
        asked = pd.DataFrame(
            {
                "creator": provenance["creator"].astype("str").to_numpy(),
                "asked": provenance["published_at"].to_numpy("datetime64[us]"),
            }
        )
        asked = asked[asked["asked"].notna()].sort_values("asked", kind="stable")
        found = pd.merge_asof(asked, self.labels, left_on="asked", right_on="time", by="creator")
        found.index = asked.index
        found = found.reindex(range(len(provenance)))
        counts = found["count"].fillna(0.0).to_numpy(np.float64)
        means = self.overall + found["sum"].fillna(0.0).to_numpy() / (counts + self.shrinkage)
        return np.column_stack([counts, means, (found["asked"] - found["time"]) / _DAY])

    def save(self, path: Path) -> Path:
        """Write an Arrow file: the labels, and in its metadata the two numbers."""
        table = pa.Table.from_pandas(self.labels, preserve_index=False).replace_schema_metadata(None)
        return write_arrow(path, table, {"overall": self.overall, "shrinkage": self.shrinkage})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        table, numbers = read_arrow(path)
        return cls(table.to_pandas(), numbers["overall"], numbers["shrinkage"])


def _shrinkage(labels: F64, creator: NDArray[np.object_]) -> float:
    """Variance within creators over the variance between them, by the moments of a one-way analysis of variance."""
    groups = pd.Series(labels).groupby(creator)
    counts = groups.size().to_numpy(np.float64)
    n, groups_n = float(counts.sum()), len(counts)
    if not 1 < groups_n < n:
        return 1.0  # one creator, or nobody with two videos: nothing says how much creators differ
    deviations = labels - groups.transform("mean").to_numpy()
    within = float((deviations**2).sum() / (n - groups_n))
    size = (n - (counts**2).sum() / n) / (groups_n - 1)
    means = groups.mean().to_numpy()
    between = float((counts * (means - labels.mean()) ** 2).sum() / (groups_n - 1) - within) / size
    ratio: float = max(within, 1e-12) / max(between, 1e-3 * within, 1e-12)
    return ratio
