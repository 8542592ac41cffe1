"""The feature columns of a horizon's kept rows: read from its file, or computed from what is read."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.data.computed_features import COMPUTED
from clipfarm_tasks.data.metadata_files import HorizonFile
from clipfarm_tasks.data.metadata_scan import CATEGORY, OWN_VIEWS, REQUIRED

_CHANNEL_VIEWS, _CHANNEL_MEDIAN, _CHANNEL_VIDEOS = (
    "channel_view_count",
    "channel_median_shorts_view_count",
    "channel_video_count",
)
_FEW_VIDEOS = 3  # of so few, the median is the video's own count or next to it


class FeatureCells:
    """Candidate features of M rows of a file.

    A feature is what was known when the question is asked. Under ``v3`` a video that was captured once had its label
    captured with its features: its own views are then taken out of those of its channel, and the median of a channel of
    at most three videos is missing. ``v1_training_suite`` and ``v2_log_counts`` take everything as it is.

    Attributes:
        numeric: columns of numbers, yes and no among them, in the order of the file, then the computed ones.
        categorical: columns of categories, in the order of the file.
    """

    def __init__(
        self, file: HorizonFile, rows: NDArray[np.int64], captured_once: NDArray[np.bool_], feature_set: FeatureSet
    ) -> None:
        """Read nothing.

        Args:
            file: the scanned rows of a horizon.
            rows: (M,) positions in the file.
            captured_once: (M,) whether the video of each row has no other capture.
            feature_set: what is computed beside what is read.
        """
        self._file, self._rows, self._captured_once = file, rows, captured_once
        self._is_v3 = feature_set is FeatureSet.V3
        here = {field.name: field.type for field in file.schema if field.name not in (*REQUIRED, OWN_VIEWS)}
        computed = [name for name, one in COMPUTED.items() if here.keys() >= set(one.needs)] if self._is_v3 else []
        self.numeric = [name for name, kind in here.items() if kind == pa.float64()] + computed
        self.categorical = [name for name, kind in here.items() if kind == CATEGORY]

    def __getitem__(self, name: str) -> pa.Array:
        """(M,) cells: float64, null where missing and NaN where unreadable; or texts."""
        if name in COMPUTED:
            one = COMPUTED[name]
            return pa.array(one.compute(*map(self._values, one.needs)), from_pandas=True)
        if self._is_v3 and name in (_CHANNEL_VIEWS, _CHANNEL_MEDIAN):
            return self._known_when_asked(name)
        return self._file.column(name).take(self._rows)

    def _values(self, name: str) -> NDArray[Any]:
        """(M,) numbers, NaN where missing, or times."""
        values: NDArray[Any] = self[name].to_numpy(zero_copy_only=False)
        return values

    def _known_when_asked(self, name: str) -> pa.Array:
        cells = self._file.column(name).take(self._rows)
        beside = OWN_VIEWS if name == _CHANNEL_VIEWS else _CHANNEL_VIDEOS
        if beside not in self._file.schema.names:
            return cells
        values, found = cells.to_numpy(zero_copy_only=False), self._values(beside)
        if name == _CHANNEL_VIEWS:
            known = np.maximum(values - np.nan_to_num(found), 0.0)
        else:
            known = np.where(found <= _FEW_VIDEOS, np.nan, values)
        changes = pa.array(self._captured_once & ~np.isnan(values))
        return pc.if_else(changes, pa.array(known, from_pandas=True), cells)
