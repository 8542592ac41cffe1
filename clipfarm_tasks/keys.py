"""Every S3 key of the project, computed here and nowhere else. All keys are relative to one bucket."""

import re

from clipfarm_tasks.families import ENSEMBLE, Family, Horizon, Modality, ModelName, Strategy

METADATA_CSV = "Data/raw/Metadata/shorts_metadata_horizon.csv"
SUCCESS = "_SUCCESS"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def safe_run_id(text: str) -> str:
    """Make an Airflow run id usable as one path segment: letters, digits, ``.``, ``_`` and ``-``, at most 120 long."""
    return _UNSAFE.sub("-", text).strip("-.")[:120].rstrip("-.") or "run"


def task_id(
    step: str, strategy: Strategy | None = None, horizon: Horizon | None = None, family: Family | None = None
) -> str:
    """Name of one task of the graph, e.g. ``filter_metadata_7d`` or ``concat_7d.train_ridge``."""
    if strategy is not None and horizon is not None:
        return f"{strategy}_{int(horizon)}d.{step}" + ("" if family is None else f"_{family}")
    if strategy is not None:
        return f"{step}_{strategy}"
    return step if horizon is None else f"{step}_{int(horizon)}d"


def model_task_id(model: ModelName, strategy: Strategy, horizon: Horizon) -> str:
    """Name of the task that makes a model: ``concat_7d.train_ridge`` or ``concat_7d.ensemble``."""
    if model == ENSEMBLE:
        return task_id(ENSEMBLE, strategy, horizon)
    return task_id("train", strategy, horizon, Family(model))


# What upstream writes.


def fused_manifest(strategy: Strategy) -> str:
    """Manifest of a fusion strategy (Parquet)."""
    return f"clipfarm/fused/{strategy}/fused_manifest.parquet"


def fused_schema(strategy: Strategy) -> str:
    """Declared widths of a fusion strategy (JSON); may be absent."""
    return f"clipfarm/fused/{strategy}/schema.json"


def fused_shards(strategy: Strategy) -> str:
    """Folder of a strategy's shards."""
    return f"clipfarm/fused/{strategy}/shards/"


def fused_shard(strategy: Strategy, date: str, part: int) -> str:
    """One shard of fused vectors (NPZ); the part name recurs under other dates."""
    return f"{fused_shards(strategy)}date={date}/part-{part:04d}.npz"


def embeddings_prefix(modality: Modality) -> str:
    """Folder of one modality's vectors."""
    return f"clipfarm/embeddings/{modality}/"


def embedding(modality: Modality, video_id: str) -> str:
    """One vector (NPY)."""
    return f"{embeddings_prefix(modality)}{video_id}.npy"


# Vector tables.


def fused_table(strategy: Strategy) -> str:
    """Lance table of a strategy's fused vectors."""
    return f"clipfarm/vectors/fused_{strategy}.lance"


def modalities_table() -> str:
    """Lance table of the three modality vectors, shared by all strategies."""
    return "clipfarm/vectors/modalities.lance"


def table_name(table: str) -> str:
    """Short name of a vector table out of its key: ``fused_concat``, ``modalities``."""
    return table.rsplit("/", 1)[-1].removesuffix(".lance")


# The working set of one run.

RUNS = "clipfarm/runs/"
_RECORD = re.compile(rf"{RUNS}run_id=([^/]+)/records/([^/]+)\.json")


def run_prefix(run_id: str) -> str:
    """Folder of a run's working set."""
    return f"{RUNS}run_id={run_id}/"


def run_config(run_id: str) -> str:
    """The resolved config every task reads."""
    return f"{run_prefix(run_id)}config.json"


def run_record(run_id: str, task: str) -> str:
    """The record a task returned, by `task_id`."""
    return f"{run_prefix(run_id)}records/{task}.json"


def run_and_task(key: str) -> tuple[str, str] | None:
    """Run id and task of a record, out of its key; None for a key of anything else."""
    found = _RECORD.fullmatch(key)
    return None if found is None else (found[1], found[2])


def run_input(run_id: str, key: str, attempt: str) -> str:
    """The run's own copy of an input object, made by one attempt to resolve the run."""
    return f"{run_prefix(run_id)}inputs/attempt={attempt}/{_flat(key)}"


def scanned_metadata(run_id: str, horizon: Horizon) -> str:
    """Every row of a horizon, the columns that may become id, label or feature."""
    return f"{run_prefix(run_id)}metadata/horizon={int(horizon)}.scan.parquet"


def filtered_metadata(run_id: str, horizon: Horizon) -> str:
    """One row per video with a usable label: id, target, features."""
    return f"{run_prefix(run_id)}metadata/horizon={int(horizon)}.parquet"


def metadata_report(run_id: str, horizon: Horizon) -> str:
    """Feature lists and the counts of every row dropped, by reason."""
    return f"{run_prefix(run_id)}metadata/horizon={int(horizon)}.report.json"


def resolved_manifest(run_id: str, strategy: Strategy) -> str:
    """The latest manifest row of each video."""
    return f"{run_prefix(run_id)}manifests/strategy={strategy}.parquet"


def vector_rows(run_id: str, table: str, sha256: str) -> str:
    """Videos whose vectors passed every check, by table name; named by content, so attempts cannot overwrite it."""
    return f"{run_prefix(run_id)}vectors/{table}/{sha256[:16]}.parquet"


def quarantine(run_id: str, table: str) -> str:
    """Rows taken out of a table's input, each with its reason."""
    return f"{run_prefix(run_id)}quarantine/{table}.parquet"


def video_split(run_id: str, horizon: Horizon) -> str:
    """The labelled videos of a horizon, their targets and the part each belongs to, for every strategy."""
    return f"{run_prefix(run_id)}splits/horizon={int(horizon)}.parquet"


def baselines(run_id: str, horizon: Horizon) -> str:
    """What the baselines predict for the val and test part of a horizon."""
    return f"{run_prefix(run_id)}baselines/horizon={int(horizon)}.parquet"


def leakage_report(run_id: str, horizon: Horizon) -> str:
    """What the leakage probes found in the rows of a horizon."""
    return f"{run_prefix(run_id)}leakage/horizon={int(horizon)}.json"


def split_manifest(run_id: str, strategy: Strategy, horizon: Horizon, sha256: str) -> str:
    """The joined rows of a pair and the part each belongs to; named by content, so attempts cannot overwrite it."""
    return f"{run_prefix(run_id)}splits/strategy={strategy}/horizon={int(horizon)}/{sha256[:16]}.parquet"


def shared_fit(run_id: str, family: Family, inputs_sha256: str) -> str:
    """A fit that other strategies with the same rows and inputs reuse."""
    return f"{run_prefix(run_id)}shared/model={family}/inputs={inputs_sha256}/"


def staging_area(target_prefix: str, run_id: str) -> str:
    """Where every attempt at one snapshot uploads before it is committed."""
    return f"{run_prefix(run_id)}staging/{_flat(target_prefix)}/"


def staging(target_prefix: str, run_id: str, attempt: str) -> str:
    """Where one attempt uploads."""
    return f"{staging_area(target_prefix, run_id)}attempt={attempt}/"


def commit(target_prefix: str, run_id: str) -> str:
    """Which attempt's files become the snapshot; created once, with a conditional put."""
    return f"{run_prefix(run_id)}commits/{_flat(target_prefix)}.json"


def _flat(prefix: str) -> str:
    return prefix.strip("/").replace("/", "~")


# Snapshots.


def snapshots_prefix(run_id: str) -> str:
    """Folder of everything a run publishes."""
    return f"clipfarm/models/snapshots/run_id={run_id}/"


def job_snapshot(run_id: str, model: ModelName, strategy: Strategy, horizon: Horizon) -> str:
    """The snapshot of one training job, or of a pair's ensemble."""
    return f"{snapshots_prefix(run_id)}model={model}/strategy={strategy}/horizon={int(horizon)}/"


def pair_snapshot(run_id: str, strategy: Strategy, horizon: Horizon) -> str:
    """A pair's snapshot over all its families."""
    return f"{snapshots_prefix(run_id)}strategy={strategy}/horizon={int(horizon)}/"


def comparison(run_id: str) -> str:
    """The run's leaderboard over all jobs."""
    return f"{snapshots_prefix(run_id)}comparison/"


# Tuning.

_TUNING = "clipfarm/tuning/"
PRESETS = f"{_TUNING}presets/"
_PRESETS = re.compile(rf"{PRESETS}version=([1-9][0-9]*)/presets\.json")


def tuning_study(run_id: str, strategy: Strategy, horizon: Horizon, family: Family, source_sha256: str) -> str:
    """Name of a study; the code is part of it, because what two codes score cannot be compared."""
    pair = f"strategy={strategy}/horizon={int(horizon)}"
    return f"run_id={run_id}/model={family}/{pair}/source={source_sha256[:12]}"


def tuning_record(study: str, number: int) -> str:
    """One record of a study's journal."""
    return f"{_TUNING}{study}/journal/{number:08d}.json"


def trial_predictions(study: str, number: int) -> str:
    """What one trial of a study predicts for the val part."""
    return f"{_TUNING}{study}/predictions/{number:08d}.npy"


def presets(version: int) -> str:
    """A version of what tuning has found; created once."""
    return f"{PRESETS}version={version}/presets.json"


def presets_version(key: str) -> int | None:
    """Version of a preset file, out of its key; None for a key of anything else."""
    found = _PRESETS.fullmatch(key)
    return None if found is None else int(found[1])


# Probe of the bucket.


def probe(token: str) -> str:
    """Object that the preflight check writes and deletes."""
    return f"clipfarm/probe/{token}"
