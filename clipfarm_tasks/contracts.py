"""The small records that travel between tasks: keys, counts, digests. Never a frame, an array or a pickle."""

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from pydantic import Field, ValidationError

from clipfarm_tasks.config import Frozen, sentence
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import DEFAULT_FAMILIES, Family, Horizon, Strategy

RECORD_LIMIT_BYTES = 2048
_P = TypeVar("_P", bound=Frozen)


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


class ScannedHorizon(Frozen):
    """Typed rows of one horizon, in the order of the CSV."""

    key: str = Field(description="S3 key of the Parquet file")
    rows: int = Field(description="Rows; 0 if the CSV has none of the horizon")
    size: int = Field(description="Bytes of the Parquet file")
    sha256: str = Field(description="Digest of the Parquet file")


class ScanRecord(Frozen):
    """What one pass over the metadata CSV left, for every requested horizon."""

    rows_read: int = Field(description="Rows in the CSV")
    horizons: dict[Horizon, ScannedHorizon] = Field(description="Its rows, by requested horizon (days)")


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
    cached: int = Field(description="Rows whose objects were already judged, at an earlier update")
    quarantined: int = Field(description="Rows taken out")


class VectorsRecord(Frozen):
    """A pinned version of a vector table and the videos a run may use from it."""

    table: str = Field(description="Table name: fused_<strategy> or modalities")
    key: str = Field(description="S3 key of the Lance table")
    table_id: str = Field(default="", description="Id of the table, which a table made anew would not have")
    version: int = Field(description="Table version the run is pinned to")
    rows_key: str = Field(description="S3 key of the usable videos")
    rows: int = Field(description="Usable videos")
    sha256: str = Field(description="Digest of the usable-videos file")
    quarantine_key: str = Field(description="S3 key of the rows taken out, with reasons")
    quarantined: dict[str, int] = Field(description="Rows taken out, by reason")
    text_present: int = Field(default=0, description="Usable videos with a text vector; 0 in a table of fused vectors")
    text_missing: int = Field(
        default=0, description="Usable videos whose manifest names a text vector that does not exist: zeros instead"
    )
    throughput: Throughput = Field(description="What the update cost")


class VideoSplitRecord(Frozen):
    """The part of every labelled video of one horizon."""

    horizon: Horizon = Field(description="Days")
    key: str = Field(description="S3 key of the videos with target and part")
    sha256: str = Field(description="Digest of that file")
    n_train: int = Field(description="Videos that train")
    n_val: int = Field(description="Videos that select and stop early")
    n_test: int = Field(description="Videos held out")
    dropped: dict[str, int] = Field(description="Labelled videos in no part, by reason")


class BaselinesRecord(Frozen):
    """What naive guesses and plain models predict for the val and test part of one horizon."""

    horizon: Horizon = Field(description="Days")
    key: str = Field(description="S3 key of the predictions")
    sha256: str = Field(description="Digest of that file")
    rows: int = Field(description="Videos with predictions")
    # Runs of earlier releases had no probes.
    leakage_key: str = Field(default="", description="S3 key of what the leakage probes found")
    leakage_sha256: str = Field(default="", description="Digest of that file")


class SplitRecord(Frozen):
    """The rows of one pair: the videos of the horizon's split that have all vectors."""

    strategy: Strategy = Field(description="Fusion strategy")
    horizon: Horizon = Field(description="Days")
    key: str = Field(description="S3 key of the split manifest")
    sha256: str = Field(description="Digest of the split manifest")
    n_train: int = Field(description="Videos that train")
    n_val: int = Field(description="Videos that select and stop early")
    n_test: int = Field(description="Videos held out")
    tables: dict[str, int] = Field(description="Version every job of the pair reads, by vector table")
    table_ids: dict[str, str] = Field(default={}, description="Id of each vector table")
    dropped: dict[str, dict[str, int]] = Field(description="Rows lost in the tables and in the join, by reason")
    # Figures by name and no `Throughput`: they decide nothing, so a past run must stay readable whatever they were.
    assembly: dict[str, dict[str, int | float]] = Field(
        default={}, description="What bringing each vector table up to date cost, as in its record"
    )


class SnapshotRecord(Frozen):
    """A finished snapshot: of one job (``model`` is a family or ``ensemble``) or of a pair (``model`` is ``all``)."""

    strategy: Strategy = Field(description="Fusion strategy")
    horizon: Horizon = Field(description="Days")
    model: str = Field(description="Family, 'ensemble', or 'all' for the pair")
    snapshot_key: str = Field(description="S3 key of the folder")
    digest: str = Field(description="Config digest, sha256 hex")
    success_sha256: str = Field(description="Digest of the _SUCCESS marker")
    best_model: str = Field(description="Family that ranks first in this snapshot")
    rank_metric: str = Field(description="val_<metric>")
    rank_value: float | None = Field(description="Value of that metric; null where it is undefined")
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


class FreshnessRecord(Frozen):
    """The newest complete run, which is not older than it may be."""

    run_id: str = Field(description="Its id")
    age_hours: float = Field(description="Hours since it was resolved, which is when it pinned its inputs")
    limit_hours: float = Field(description="Hours it may be old")


def _parsed(kind: type[_P], values: Mapping[str, Any], what: str) -> _P:
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{what} parameters: {'; '.join(map(sentence, error.errors()))}") from error


class MaintenanceParams(Frozen):
    """What `maintain` is asked to do."""

    keep_days: int = Field(
        default=30,
        ge=1,
        le=36500,
        description="Days a version of a vector table is kept after it was superseded, also if no kept run pins it",
    )
    dry_run: bool = Field(default=False, description="Only count what would be done; nothing is changed")

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Build params from untrusted values.

        Raises:
            ConfigError: one message that lists every problem at once.
        """
        return _parsed(cls, values, "maintenance")


class TableMaintenance(Frozen):
    """What was done to one vector table; of a dry run, what would be done."""

    fragments_removed: int = Field(description="Small or thinned out fragments that were rewritten")
    fragments_added: int = Field(description="Fragments they became")
    versions_dropped: int = Field(description="Versions that can no longer be read")
    versions_kept: int = Field(description="Versions left of those that were found")
    versions_pinned: int = Field(description="Versions kept, whatever their age, because a kept run pins them")
    pins_lost: int = Field(description="Versions that a kept run pins and that are not there any more")
    bytes_freed: int = Field(description="Bytes deleted; of a dry run, without versions that are still tagged")


class MaintenanceRecord(Frozen):
    """Upkeep of the vector tables that exist."""

    params: MaintenanceParams = Field(description="What was asked for")
    runs: int = Field(description="Kept runs whose records were read")
    tables: dict[str, TableMaintenance] = Field(description="By table name: fused_<strategy> or modalities")


class TuningParams(Frozen):
    """What tuning is asked to do."""

    models: tuple[Family, ...] = Field(
        default=DEFAULT_FAMILIES, min_length=1, description="Model families to tune, each in a study of its own"
    )
    strategy: Strategy = Field(default=Strategy.CONCAT, description="Fusion strategy of the rows to tune on")
    horizon: Horizon = Field(default=Horizon.D7, description="Horizon of the rows to tune on, in days")
    trials: int = Field(
        default=20, ge=1, le=1000, description="Trials of a study, that of the preset of the code included"
    )
    minutes: int = Field(
        default=30,
        ge=1,
        le=240,
        description="Minutes for which each worker starts trials; one that is running is left to end",
    )
    workers: int = Field(default=2, ge=1, le=3, description="Tasks that run trials of one study side by side")
    stale_minutes: int = Field(
        default=60, ge=1, le=1440, description="Minutes after which a trial that still runs counts as dead"
    )

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Build params from untrusted values.

        Raises:
            ConfigError: one message that lists every problem at once.
        """
        return _parsed(cls, values, "tuning")


class TuningJob(Frozen):
    """What one worker takes part in."""

    run_id: str = Field(description="Run whose rows are tuned on")
    family: Family = Field(description="Family of the study")


class StudyRecord(Frozen):
    """A study when one of its workers had nothing left to do."""

    study: str = Field(description="Its name")
    ended_here: int = Field(description="Trials that this worker has ended")
    trials: dict[str, int] = Field(description="Trials of all workers, by state")


class PresetRecord(Frozen):
    """What tuning has published."""

    version: int | None = Field(description="Version of the preset file; null where nothing better was found")
    key: str | None = Field(description="S3 key of the preset file")
    differences: dict[Family, float] = Field(description="By family, val RMSE (log) less that of the code's preset")
    unknown: tuple[Family, ...] = Field(default=(), description="Families whose preset of the code has no score")
