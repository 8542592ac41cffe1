"""Records: small, immutable, and the same after a trip through JSON. Worst cases are built from the real keys."""

import inspect
import json

import pytest
from pydantic import BaseModel, ValidationError

from clipfarm_tasks import contracts, keys
from clipfarm_tasks.config import Frozen
from clipfarm_tasks.contracts import RECORD_LIMIT_BYTES, RunRecord
from clipfarm_tasks.data.split import Unsplit
from clipfarm_tasks.families import Family, Horizon, Strategy
from clipfarm_tasks.vectors.quarantine import Reason

# As long as resolve_run makes one: 120 characters, and the suffix of a run that supersedes another.
RUN_ID = keys.safe_run_id("x" * 500) + "-" + "0" * 8
SHA = "f" * 64
MANY = 10**9
STRATEGY = max(Strategy, key=len)
FAMILY = max(Family, key=len)
JOBS = tuple(f"{s}_{h}d.{f}" for s in Strategy for h in Horizon for f in Family)
# More reasons than any step has, each as long as the longest one that is used.
DROPPED = {f"reason_{number:02d}_of_a_long_name": MANY for number in range(14)}
TABLE = "fused_sum_pool"
THROUGHPUT = contracts.Throughput(
    objects=MANY, bytes=10**14, seconds=33333.333, objects_per_s=33333.3, retries=MANY, cached=MANY, quarantined=MANY
)
UPKEEP = contracts.TableMaintenance(
    fragments_removed=MANY,
    fragments_added=MANY,
    versions_dropped=MANY,
    versions_kept=MANY,
    versions_pinned=MANY,
    pins_lost=MANY,
    bytes_freed=10**14,
)

WORST = [
    contracts.RunRecord(
        run_id=RUN_ID,
        config_key=keys.run_config(RUN_ID),
        digest=SHA,
        strategies=tuple(Strategy),
        horizons=tuple(Horizon),
        models=tuple(Family),
    ),
    contracts.ScannedHorizon(
        key=keys.scanned_metadata(RUN_ID, Horizon.D30),
        rows=MANY,
        size=10**12,
        sha256=SHA,
    ),
    contracts.ScanRecord(
        rows_read=MANY,
        horizons={
            horizon: contracts.ScannedHorizon(
                key=keys.scanned_metadata(RUN_ID, horizon), rows=MANY, size=10**12, sha256=SHA
            )
            for horizon in Horizon
        },
    ),
    contracts.MetadataRecord(
        horizon=Horizon.D30,
        key=keys.filtered_metadata(RUN_ID, Horizon.D30),
        report_key=keys.metadata_report(RUN_ID, Horizon.D30),
        report_sha256=SHA,
        rows=MANY,
        sha256=SHA,
        dropped=DROPPED,
    ),
    contracts.ManifestRecord(
        strategy=STRATEGY, key=keys.resolved_manifest(RUN_ID, STRATEGY), rows=MANY, sha256=SHA, dropped=DROPPED
    ),
    THROUGHPUT,
    contracts.VectorsRecord(
        table=TABLE,
        key=keys.fused_table(STRATEGY),
        table_id=SHA[:16],
        version=MANY,
        rows_key=keys.vector_rows(RUN_ID, TABLE, SHA),
        rows=MANY,
        sha256=SHA,
        quarantine_key=keys.quarantine(RUN_ID, TABLE),
        quarantined=dict.fromkeys(Reason, MANY),
        text_present=MANY,
        text_missing=MANY,
        throughput=THROUGHPUT,
    ),
    contracts.VideoSplitRecord(
        horizon=Horizon.D30,
        key=keys.video_split(RUN_ID, Horizon.D30),
        sha256=SHA,
        n_train=MANY,
        n_val=MANY,
        n_test=MANY,
        dropped=dict.fromkeys(Unsplit, MANY),
    ),
    contracts.BaselinesRecord(horizon=Horizon.D30, key=keys.baselines(RUN_ID, Horizon.D30), sha256=SHA, rows=MANY),
    contracts.SplitRecord(
        strategy=STRATEGY,
        horizon=Horizon.D30,
        key=keys.split_manifest(RUN_ID, STRATEGY, Horizon.D30, SHA),
        sha256=SHA,
        n_train=MANY,
        n_val=MANY,
        n_test=MANY,
        tables={TABLE: MANY, "modalities": MANY},
        table_ids={TABLE: SHA[:16], "modalities": SHA[:16]},
        dropped={
            TABLE: dict.fromkeys(Reason, MANY),
            "modalities": dict.fromkeys(Reason, MANY),
            "split": dict.fromkeys(Unsplit, MANY),
            "join": dict.fromkeys(("no_metadata", "no_fused_vector", "no_modality_vectors"), MANY),
        },
        assembly={TABLE: THROUGHPUT.model_dump(), "modalities": THROUGHPUT.model_dump()},
    ),
    contracts.SnapshotRecord(
        strategy=STRATEGY,
        horizon=Horizon.D30,
        model=FAMILY,
        snapshot_key=keys.job_snapshot(RUN_ID, FAMILY, STRATEGY, Horizon.D30),
        digest=SHA,
        success_sha256=SHA,
        best_model=FAMILY,
        rank_metric="val_rmse_log",
        rank_value=-1e9 / 3,
        reused=False,
    ),
    contracts.LeaderboardRecord(key=keys.comparison(RUN_ID), rows=24, missing=JOBS, sha256=SHA),
    contracts.GateRecord(jobs=24, leaderboard_key=keys.comparison(RUN_ID)),
    contracts.MaintenanceParams(keep_days=36_500, dry_run=True),
    UPKEEP,
    contracts.FreshnessRecord(run_id=RUN_ID, age_hours=123456.789, limit_hours=123456.789),
    contracts.MaintenanceRecord(
        params=contracts.MaintenanceParams(keep_days=36_500, dry_run=True),
        runs=MANY,
        tables={"modalities": UPKEEP} | {keys.table_name(keys.fused_table(strategy)): UPKEEP for strategy in Strategy},
    ),
    contracts.TuningParams(trials=1000, minutes=240, workers=3, stale_minutes=1440),
    contracts.TuningJob(run_id=RUN_ID, family=FAMILY),
    contracts.StudyRecord(
        study=keys.tuning_study(RUN_ID, STRATEGY, Horizon.D30, FAMILY, SHA),
        ended_here=1000,
        trials=dict.fromkeys(("complete", "fail", "pruned", "running", "waiting"), MANY),
    ),
    contracts.PresetRecord(version=MANY, key=keys.presets(MANY), differences=dict.fromkeys(Family, -1e9 / 3)),
]
by_name = pytest.mark.parametrize("record", WORST, ids=lambda record: type(record).__name__)


def test_every_contract_has_a_worst_case():
    defined = {c for _, c in inspect.getmembers(contracts, inspect.isclass) if c.__module__ == contracts.__name__}
    assert {type(record) for record in WORST} == defined
    assert all(issubclass(cls, Frozen) for cls in defined)


@by_name
def test_worst_case_fits_into_an_xcom(record):
    assert len(json.dumps(record.model_dump(mode="json")).encode()) <= RECORD_LIMIT_BYTES


@by_name
def test_same_after_a_trip_through_json(record):
    assert type(record).model_validate(json.loads(json.dumps(record.model_dump(mode="json")))) == record


@by_name
def test_immutable_and_closed(record):
    name = next(iter(type(record).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(record, name, None)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        type(record).model_validate(record.model_dump() | {"frame": []})


@by_name
def test_every_field_is_described(record):
    assert isinstance(record, BaseModel)
    assert all(field.description for field in type(record).model_fields.values())


def test_requests_matches_what_was_asked():
    run = RunRecord(
        run_id="r",
        config_key="k",
        digest=SHA,
        strategies=(Strategy.CONCAT, Strategy.MAX_POOL),
        horizons=(Horizon.D30,),
        models=(Family.RIDGE,),
    )
    asked = [
        (s, h, f) for s in (None, *Strategy) for h in (None, *Horizon) for f in (None, *Family) if run.requests(s, h, f)
    ]
    expected = [
        (s, h, f)
        for s in (None, Strategy.CONCAT, Strategy.MAX_POOL)
        for h in (None, Horizon.D30)
        for f in (None, Family.RIDGE)
    ]
    assert asked == expected
