"""The command line: run the pipeline or one step, write a sample, show, rebuild or tune on a run, check the bucket."""

import json
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from clipfarm_tasks import keys
from clipfarm_tasks.cli import options
from clipfarm_tasks.cli.leaderboard_table import leaderboard
from clipfarm_tasks.config import Settings
from clipfarm_tasks.contracts import MaintenanceParams, TuningParams
from clipfarm_tasks.errors import ClipfarmError, ConfigError, MissingObjectError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train, compare and publish models of the views a short video will have. Settings come from the environment: "
    "CLIPFARM_BUCKET, AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION.",
)
_CORES = os.cpu_count() or 1


def main() -> None:
    """Run the command line; an error of ours is one sentence and its exit code, never a traceback alone."""
    try:
        app()
    except ClipfarmError as error:
        Console(stderr=True).print(f"{type(error).__name__}: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(error.exit_code)


@app.command()
def run(
    strategy: options.Strategies = list(options.default("strategies")),
    horizon: options.Horizons = list(options.default("horizons")),
    model: options.Models = list(options.default("models")),
    run_id: Annotated[
        str,
        typer.Option(
            help="Id of the run. The same id, params, inputs and code continue it; others get a new id with a suffix. "
            "Default: the UTC time"
        ),
    ] = "",
    split_strategy: options.Split = options.default("split_strategy"),
    seed: options.Seed = options.default("seed"),
    train_ratio: options.TrainRatio = options.default("train_ratio"),
    val_ratio: options.ValRatio = options.default("val_ratio"),
    test_ratio: options.TestRatio = options.default("test_ratio"),
    rank_metric: options.Rank = options.default("rank_metric"),
    lead_among_ties: options.Lead = options.default("lead_among_ties"),
    temporal_check: options.TemporalCheck = options.default("temporal_check"),
    max_epochs: options.MaxEpochs = options.default("max_epochs"),
    patience: options.Patience = options.default("patience"),
    projector_dim: options.ProjectorDim = options.default("projector_dim"),
    feature_set: options.FeatureSetOption = options.default("feature_set_version"),
    refit: options.Refit = options.default("refit"),
    bags: options.Bags = options.default("bags"),
    device: options.DeviceOption = options.default("device"),
    max_quarantined_fraction: options.MaxQuarantined = options.default("max_quarantined_fraction"),
    extra_feature: options.Extra = list(options.default("extra_features")),
    exclude_feature: options.Exclude = list(options.default("exclude_features")),
    max_lost_fraction: options.MaxLost = options.default("max_lost_fraction"),
    max_text_loss: options.MaxTextLoss = options.default("max_text_loss"),
    leakage_probes: options.Probes = options.default("leakage_probes"),
    max_feature_explains: options.MaxExplains = options.default("max_feature_explains"),
    embargo_days: options.EmbargoDays = options.default("embargo_days"),
    slice_limit: options.SliceLimits = list(options.default("slice_limits")),
    preset_version: options.PresetVersion = options.default("preset_version"),
    run_label: options.Label = options.default("run_label"),
    jobs: Annotated[int, typer.Option(min=1, help="Tasks running at the same time. Default: one per core")] = _CORES,
) -> None:
    """Run the whole pipeline without Airflow. Exits 0 only if every requested job has its snapshot."""
    from clipfarm_tasks.cli.run_pipeline import run_pipeline  # here: --help and a wrong option should answer at once

    values = {
        "strategies": strategy,
        "horizons": horizon,
        "models": model,
        "split_strategy": split_strategy,
        "seed": seed,
        "train_ratio": train_ratio,
        "val_ratio": val_ratio,
        "test_ratio": test_ratio,
        "rank_metric": rank_metric,
        "lead_among_ties": lead_among_ties,
        "temporal_check": temporal_check,
        "max_epochs": max_epochs,
        "patience": patience,
        "projector_dim": projector_dim,
        "feature_set_version": feature_set,
        "refit": refit,
        "bags": bags,
        "device": device,
        "max_quarantined_fraction": max_quarantined_fraction,
        "extra_features": extra_feature,
        "exclude_features": exclude_feature,
        "max_lost_fraction": max_lost_fraction,
        "max_text_loss": max_text_loss,
        "leakage_probes": leakage_probes,
        "max_feature_explains": max_feature_explains,
        "embargo_days": embargo_days,
        "slice_limits": slice_limit,
        "preset_version": preset_version,
        "run_label": run_label,
    }
    source = run_id or f"manual-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    raise typer.Exit(run_pipeline(Settings.from_environment(), values, source, jobs, Console()))


@app.command()
def step(
    name: Annotated[
        str,
        typer.Argument(
            help="Step: resolve_run, scan_metadata, filter_metadata, split_videos, resolve_manifest, "
            "reconstruct_fused, reconstruct_modalities, baselines, build_split, train, ensemble, publish_snapshot, "
            "leaderboard or gate"
        ),
    ],
    run_id: Annotated[str, typer.Option(help="Id of the run: a resolved one, or for resolve_run a new one")],
    strategy: options.OneStrategy = None,
    horizon: options.OneHorizon = None,
    model: options.OneModel = None,
    params: Annotated[
        str, typer.Option(help="Only for resolve_run: run parameters as a JSON object. Default: their defaults")
    ] = "{}",
) -> None:
    """Run one step of a resolved run, as a retry or a pod does, and print its record as JSON."""
    from clipfarm_tasks.cli.run_step import run_step

    _log_to_stderr()
    typer.echo(run_step(name, keys.safe_run_id(run_id), strategy, horizon, model, params).model_dump_json(indent=2))


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("botocore").setLevel(logging.WARNING)


@app.command()
def sample(
    videos: Annotated[int, typer.Option(min=20, help="Videos")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed; the same seed writes the same bytes")] = 7,
    width: Annotated[int, typer.Option(min=1, help="Width of a modality's vector, in columns")] = 768,
    force: Annotated[bool, typer.Option("--force", help="Write although the bucket has metadata already")] = False,
) -> None:
    """Write a synthetic bucket, laid out as upstream lays it out: for demos and tests, not for claims."""
    from clipfarm_tasks.sample.write import write_sample
    from clipfarm_tasks.storage import open_store

    store = open_store(Settings.from_environment())
    store.check_bucket()
    if not force and store.head(keys.METADATA_CSV) is not None:
        raise ConfigError(
            f"expected a bucket without metadata, got an object at {store.uri(keys.METADATA_CSV)}: a sample would "
            "overwrite it; use another bucket, or --force if this is one you can lose"
        )
    report = write_sample(store, videos=videos, seed=seed, width=width)
    typer.echo(f"{report.videos} videos, {report.objects} objects, {report.bytes} bytes in s3://{store.bucket}")


@app.command()
def show(run_id: Annotated[str, typer.Argument(help="Id of a run")]) -> None:
    """Show a run's leaderboard as a table."""
    from clipfarm_tasks.steps.leaderboard import COMPARISON_JSON
    from clipfarm_tasks.storage import open_store

    store = open_store(Settings.from_environment())
    key = f"{keys.comparison(keys.safe_run_id(run_id))}{COMPARISON_JSON}"
    try:
        document = json.loads(store.get(key))
    except MissingObjectError as error:
        raise MissingObjectError(
            f"expected a leaderboard of run {run_id!r}, got none at {store.uri(key)}: the run is unknown or unfinished"
        ) from error
    Console().print(leaderboard(document))


@app.command()
def rebuild(
    run_id: Annotated[str, typer.Argument(help="Id of a run")],
    strategy: options.OnlyStrategy = None,
    horizon: options.OnlyHorizon = None,
    model: options.OnlyModel = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="New or empty folder for the matrices: one folder for each strategy and horizon, row i of every file "
            "the same video, train then val then test. Default: compare only",
            file_okay=False,
        ),
    ] = None,
) -> None:
    """Re-create a past run's training data from what it pinned. Exits 0 only if all equal what was trained on."""
    from clipfarm_tasks.cli.rebuild import rebuild_run

    settings = Settings.from_environment()
    raise typer.Exit(rebuild_run(settings, keys.safe_run_id(run_id), strategy, horizon, model, output, Console()))


@app.command()
def maintain(
    keep_days: options.KeepDays = options.default("keep_days", MaintenanceParams),
    dry_run: options.DryRun = options.default("dry_run", MaintenanceParams),
) -> None:
    """Compact the vector tables and drop their old versions, but none that a kept run pins."""
    from clipfarm_tasks.cli.maintenance_table import maintenance_table
    from clipfarm_tasks.steps.maintain import maintain as maintain_all
    from clipfarm_tasks.storage import open_store

    store = open_store(Settings.from_environment())
    Console().print(maintenance_table(maintain_all(store, {"keep_days": keep_days, "dry_run": dry_run})))


@app.command()
def tune(
    run_id: Annotated[str, typer.Option(help="Id of a run whose rows are tuned on, at the versions it has pinned")],
    model: options.TunedModels = list(options.default("models", TuningParams)),
    strategy: options.TunedStrategy = options.default("strategy", TuningParams),
    horizon: options.TunedHorizon = options.default("horizon", TuningParams),
    trials: options.Trials = options.default("trials", TuningParams),
    minutes: options.Minutes = options.default("minutes", TuningParams),
    stale_minutes: options.StaleMinutes = options.default("stale_minutes", TuningParams),
    publish: Annotated[
        bool, typer.Option("--publish", help="Write what is better than the presets of the code as a new preset file")
    ] = False,
) -> None:
    """Search for better recipes on the train and val part of a run; the same command goes on with a study."""
    from clipfarm_tasks.cli.tune import tune_families

    _log_to_stderr()  # a line for each trial
    values = {
        "models": model,
        "strategy": strategy,
        "horizon": horizon,
        "trials": trials,
        "minutes": minutes,
        "stale_minutes": stale_minutes,
    }
    tune_families(
        Settings.from_environment(), TuningParams.parse(values), keys.safe_run_id(run_id), Console(), publish=publish
    )


@app.command()
def freshness(max_age_hours: options.MaxAgeHours = None) -> None:
    """Find the newest complete run. Exits 0 if it is fresh, 2 if it is stale or there is none, 1 without an answer."""
    from clipfarm_tasks.deployment.alerts import AlertSettings
    from clipfarm_tasks.steps.check_freshness import check_freshness
    from clipfarm_tasks.storage import open_store

    limit = AlertSettings.from_environment().stale_after_hours if max_age_hours is None else max_age_hours
    record = check_freshness(open_store(Settings.from_environment()), limit)
    typer.echo(f"run {record.run_id} was resolved {record.age_hours:.1f} h ago, the limit is {limit:g} h")


@app.command()
def check() -> None:
    """Probe the bucket, the permissions, conditional writes and the input; say in plain words what is wrong."""
    from clipfarm_tasks.storage import open_store
    from clipfarm_tasks.storage.preflight import check as probe

    findings = probe(open_store(Settings.from_environment()))
    for finding in findings:
        typer.echo(f"{'ok    ' if finding.ok else 'FAILED'}  {finding.what}")
        if finding.advice:
            typer.echo(f"        {finding.advice}")
    raise typer.Exit(max(finding.exit_code for finding in findings))
