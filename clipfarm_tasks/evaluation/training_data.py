"""What a pair's documents tell about its data: the rows, the features and what was lost on the way."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from clipfarm_tasks.data.features import FeatureSpec
from clipfarm_tasks.data.metadata_report import MetadataReport


@dataclass(frozen=True)
class TrainingData:
    """What the families of a pair were trained on.

    Attributes:
        rows: N rows of the split manifest: video_id, split, text_present, target_log, target_raw (views), creator.
        features: the same N rows: numeric and categorical feature columns and no other.
        report: which columns became features, why the others did not, and what could not be read in them.
        dropped: rows lost, by stage (``metadata``, ``manifest``, ...) and reason.
        assembly: what bringing each vector table up to date cost (objects, bytes, seconds, ...), by table.
        table_versions: version trained on, by vector table (``fused_concat``, ``modalities``).
        table_ids: id of each vector table.
    """

    rows: pd.DataFrame
    features: pd.DataFrame
    report: MetadataReport
    dropped: Mapping[str, Mapping[str, int]]
    assembly: Mapping[str, Mapping[str, float]]
    table_versions: Mapping[str, int]
    table_ids: Mapping[str, str]

    @property
    def spec(self) -> FeatureSpec:
        """The columns by what became of them."""
        return self.report.features
