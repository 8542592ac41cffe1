"""The feature columns of a horizon's kept rows: read from its file, or computed from what is read."""

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipfarm_tasks.config import FeatureSet
from clipfarm_tasks.data.computed_features import COMPUTED, TEXTS
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

    A feature is what was known when the question is asked. Under ``v3`` a video whose label was captured with its
    features has its own views taken out of those of its channel, and the median of a channel of at most three videos is
    missing; both are missing where the file does not say how many views, or videos, that is. ``v1_training_suite`` and
    ``v2_log_counts`` take everything as it is.

    Attributes:
        numeric: columns of numbers, yes and no among them, in the order of the file, then the computed ones.
        categorical: columns of categories, in the order of the file.
    """

    def __init__(
        self,
        file: HorizonFile,
        rows: NDArray[np.int64],
        with_label: NDArray[np.bool_],
        feature_set: FeatureSet,
        exclude: Collection[str] = (),
    ) -> None:
        """Read nothing.

        Args:
            file: the scanned rows of a horizon.
            rows: (M,) positions in the file.
            with_label: (M,) whether the label of each video was captured with its features.
            feature_set: what is computed beside what is read.
            exclude: columns from which nothing is computed.
        """
        self._file, self._rows, self._with_label = file, rows, with_label
        self._is_v3 = feature_set is FeatureSet.V3
        unread = {*REQUIRED, OWN_VIEWS, *(name for text in set(exclude) & TEXTS.keys() for name in TEXTS[text])}
        here = {field.name: field.type for field in file.schema if field.name not in unread}
        usable = here.keys() - set(exclude)
        computed = [name for name, one in COMPUTED.items() if usable >= set(one.needs)] if self._is_v3 else []
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
        values, found = cells.to_numpy(zero_copy_only=False), np.full(len(cells), np.nan)
        beside = OWN_VIEWS if name == _CHANNEL_VIEWS else _CHANNEL_VIDEOS
        if beside in self._file.schema.names:
            found = self._values(beside)
        if name == _CHANNEL_VIEWS:
            known = np.maximum(values - found, 0.0)
        else:
            known = np.where(found > _FEW_VIDEOS, values, np.nan)
        changes = pa.array(self._with_label & ~np.isnan(values))
        return pc.if_else(changes, pa.array(known, from_pandas=True), cells)
