"""One made-up run, a pair of 40 videos, and predictions of it."""

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks.config import RunParams
from clipfarm_tasks.data.column_cells import ColumnCells
from clipfarm_tasks.data.features import FeatureSpec, UnknownColumn
from clipfarm_tasks.data.metadata_report import MetadataReport
from clipfarm_tasks.evaluation.predictions import predictions_frame
from clipfarm_tasks.evaluation.reports import job_documents
from clipfarm_tasks.evaluation.scope import Scope
from clipfarm_tasks.evaluation.training_data import TrainingData
from clipfarm_tasks.families import PRESETS, Family, Horizon, Strategy
from clipfarm_tasks.run_config import CodeVersion, PinnedObject, RunConfig, RunInputs

VERSIONS = {"python": "3.11.9", "numpy": "2.4", "pandas": "3.1", "scikit_learn": "1.9", "torch": "2.9+cpu"}


def _config(**params) -> RunConfig:
    manifests = {s: PinnedObject(key=f"fused/{s}.parquet", etag=f"m-{s}", size=5) for s in Strategy}
    return RunConfig(
        run_id="r1",
        digest="d" * 64,
        params=RunParams(**params),
        inputs=RunInputs(
            metadata=PinnedObject(key="meta.csv", etag="e1", size=10),
            manifests=manifests,
            schemas=dict.fromkeys(Strategy),
        ),
        code=CodeVersion(package="0.1.0", git_sha="abc", source_sha256="abc"),
        resolved_at="2026-03-05T00:00:00+00:00",
        as_of="2026-03-05T00:00:00+00:00",
        source_run_id="manual",
    )


@pytest.fixture
def make_config():
    return _config


@pytest.fixture
def pair() -> Scope:
    return Scope(_config(), Strategy.CONCAT, Horizon.D7)


@pytest.fixture
def data() -> TrainingData:
    rng = np.random.default_rng(0)
    n = 40
    raw = np.floor(rng.lognormal(6, 2, n))
    rows = pd.DataFrame(
        {
            "video_id": [f"v{i:02d}" for i in range(n)],
            "split": ["train"] * 28 + ["val"] * 6 + ["test"] * 6,
            "text_present": (rng.random(n) < 0.7).astype(int),
            "target_log": np.log1p(raw),
            "target_raw": raw,
            "creator": [f"c{i // 2}" for i in range(n)],
        }
    )
    features = pd.DataFrame(
        {
            "subscribers": np.where(rng.random(n) < 0.25, np.nan, rng.lognormal(8, 2, n)),
            "empty": np.full(n, np.nan),
            "country": np.array(["US", None, "DE", "IN"] * (n // 4), dtype=object),
        }
    )
    spec = FeatureSpec(
        numeric_cols=("subscribers", "empty"),
        categorical_cols=("country",),
        dropped_metadata_cols=("title",),
        excluded_high_card=("channel_id",),
        excluded_leakage=("digg_count", "view_count"),
        unknown_columns={"digg_count": UnknownColumn(became="excluded", why="the audience's response")},
    )
    return TrainingData(
        rows=rows,
        features=features,
        report=MetadataReport(
            features=spec,
            rows_read=45,
            dropped={},
            unreadable={"subscribers": 2},
            missing_rate={},
            unused={"mood": ColumnCells(readable=1, unreadable=9, flaw="unreadable")},
            absent=("channel_age_days",),
            examples={"subscribers": "many"},
        ),
        dropped={"metadata": {"no_label": 3, "superseded": 2}, "join": {}},
        assembly={"modalities": {"objects": 120, "seconds": 0.5}},
        table_versions={"modalities": 4, "fused_concat": 9},
        table_ids={"modalities": "m", "fused_concat": "f"},
    )


@pytest.fixture
def make_job(pair, data):
    """Documents of one family's job, its predictions shuffled; ``noise`` is the error's scale."""

    def make(
        family: Family, noise: float = 1.0, scope: Scope = pair, versions: dict | None = None, device: str = "cpu"
    ):
        rng = np.random.default_rng(list(family.encode()))
        parts = {}
        for part in ("val", "test"):
            rows = data.rows[data.rows["split"] == part].sample(frac=1, random_state=len(family))
            predicted = rows["target_log"] + noise * rng.standard_normal(len(rows))
            parts[part] = predictions_frame(rows, {family: predicted.to_numpy(dtype=np.float32)})
        sha256 = {"features": f"sees {PRESETS[family].sees_fused}", "target": "t"}
        job = Scope(scope.config, scope.strategy, scope.horizon, family)
        return job_documents(job, data, {"of": str(family)}, device, sha256, parts, versions or VERSIONS)

    return make
