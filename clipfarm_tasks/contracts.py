"""The small records that travel between tasks: keys, counts, digests. Never a frame, an array or a pickle."""

from pydantic import Field

from clipfarm_tasks.config import Frozen
from clipfarm_tasks.families import Family, Horizon, Strategy

RECORD_LIMIT_BYTES = 2048


class RunRecord(Frozen):
    """What resolve_run hands to every task."""

    run_id: str = Field(description="Id used in every key of the run")
    config_key: str = Field(description="S3 key of the resolved config")
    digest: str = Field(description="Config digest, sha256 hex")
    strategies: tuple[Strategy, ...] = Field(description="Requested strategies")
    horizons: tuple[Horizon, ...] = Field(description="Requested horizons, days")
    models: tuple[Family, ...] = Field(description="Requested families")

    def requests(
        self, strategy: Strategy | None = None, horizon: Horizon | None = None, family: Family | None = None
    ) -> bool:
        """Whether the run asks for this combination; None matches anything."""
        return (
            (strategy is None or strategy in self.strategies)
            and (horizon is None or horizon in self.horizons)
            and (family is None or family in self.models)
        )


class MetadataRecord(Frozen):
    """Labelled rows of one horizon."""

    horizon: Horizon = Field(description="Days")
    key: str = Field(description="S3 key of the Parquet file")
    report_key: str = Field(description="S3 key of the feature lists and drop counts")
    report_sha256: str = Field(description="Digest of the report")
    rows: int = Field(description="Videos")
    sha256: str = Field(description="Digest of the Parquet file")
    dropped: dict[str, int] = Field(description="Rows dropped, by reason")


class ManifestRecord(Frozen):
    """Latest manifest rows of one strategy."""

    strategy: Strategy = Field(description="Fusion strategy")
    key: str = Field(description="S3 key of the Parquet file")
    rows: int = Field(description="Videos")
    sha256: str = Field(description="Digest of the Parquet file")
    dropped: dict[str, int] = Field(description="Rows dropped, by reason")


class Throughput(Frozen):
    """What moving the objects cost."""

    objects: int = Field(description="Objects fetched")
    bytes: int = Field(description="Bytes fetched")
    seconds: float = Field(description="Wall time, seconds")
    objects_per_s: float = Field(description="Objects per second")
    retries: int = Field(description="Requests repeated after a fault")
    cached: int = Field(description="Rows that were already in the table")


class VectorsRecord(Frozen):
    """A pinned version of a vector table and the videos a run may use from it."""

    table: str = Field(description="Table name: fused_<strategy> or modalities")
    key: str = Field(description="S3 key of the Lance table")
    version: int = Field(description="Table version the run is pinned to")
    rows_key: str = Field(description="S3 key of the usable videos")
    rows: int = Field(description="Usable videos")
    sha256: str = Field(description="Digest of the usable-videos file")
    quarantine_key: str = Field(description="S3 key of the rows taken out, with reasons")
    quarantined: dict[str, int] = Field(description="Rows taken out, by reason")
    text_missing: int = Field(
        default=0, description="Usable videos whose manifest names a text vector that does not exist: zeros instead"
    )
    throughput: Throughput = Field(description="What the update cost")


class SplitRecord(Frozen):
    """Joined and split rows of one pair."""

    strategy: Strategy = Field(description="Fusion strategy")
    horizon: Horizon = Field(description="Days")
    key: str = Field(description="S3 key of the split manifest")
    sha256: str = Field(description="Digest of the split manifest")
    n_train: int = Field(description="Videos that train")
    n_val: int = Field(description="Videos that select and stop early")
    n_test: int = Field(description="Videos held out")
    tables: dict[str, int] = Field(description="Version every job of the pair reads, by vector table")
    dropped: dict[str, dict[str, int]] = Field(description="Rows lost in the tables and in the join, by reason")


class SnapshotRecord(Frozen):
    """A finished snapshot: of one job (``model`` is a family) or of a pair (``model`` is ``all``)."""

    strategy: Strategy = Field(description="Fusion strategy")
    horizon: Horizon = Field(description="Days")
    model: str = Field(description="Family, or 'all' for the pair")
    snapshot_key: str = Field(description="S3 key of the folder")
    digest: str = Field(description="Config digest, sha256 hex")
    success_sha256: str = Field(description="Digest of the _SUCCESS marker")
    best_model: str = Field(description="Family that ranks first in this snapshot")
    rank_metric: str = Field(description="val_<metric>")
    rank_value: float = Field(description="Value of that metric")
    reused: bool = Field(description="Whether the snapshot was already finished")


class LeaderboardRecord(Frozen):
    """The comparison over all requested jobs."""

    key: str = Field(description="S3 key of the comparison folder")
    rows: int = Field(description="Finished jobs")
    missing: tuple[str, ...] = Field(description="Requested jobs without a snapshot, as strategy_horizon.family")
    sha256: str = Field(description="Digest of metrics_comparison.json")


class GateRecord(Frozen):
    """The verdict: every requested job has its snapshot."""

    jobs: int = Field(description="Requested jobs, all finished")
    leaderboard_key: str = Field(description="S3 key of the comparison folder")
