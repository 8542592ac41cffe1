"""Command-line options. Texts, limits and defaults come from the config models, where they are defined."""

from typing import Annotated, Any

import typer

from clipfarm_tasks.config import FeatureSet, Frozen, LeadAmongTies, LeakageProbes, RankMetric, RunParams, SplitStrategy
from clipfarm_tasks.contracts import MaintenanceParams, TuningParams
from clipfarm_tasks.deployment.alerts import AlertSettings
from clipfarm_tasks.families import Device, Family, Horizon, Strategy


def default(field: str, params: type[Frozen] = RunParams) -> Any:
    """Default of a parameter."""
    return params.model_fields[field].default


def _help(field: str, params: type[Frozen] = RunParams) -> str:
    return str(params.model_fields[field].description)


_DAYS = "|".join(str(int(horizon)) for horizon in Horizon)


def _horizon(text: str | int) -> Horizon:
    try:
        return Horizon(int(text))
    except ValueError:
        raise typer.BadParameter(f"expected {_DAYS} (days), got {text!r}") from None


_HORIZON: dict[str, Any] = {"parser": _horizon, "metavar": f"[{_DAYS}]"}

Strategies = Annotated[list[Strategy], typer.Option("--strategy", help=f"{_help('strategies')}; repeatable.")]
Horizons = Annotated[list[Horizon], typer.Option("--horizon", help=f"{_help('horizons')}; repeatable.", **_HORIZON)]
Models = Annotated[list[Family], typer.Option("--model", help=f"{_help('models')}; repeatable.")]
Split = Annotated[SplitStrategy, typer.Option("--split-strategy", help=_help("split_strategy"))]
Seed = Annotated[int, typer.Option("--seed", help=_help("seed"))]
TrainRatio = Annotated[float, typer.Option("--train-ratio", help=_help("train_ratio"))]
ValRatio = Annotated[float, typer.Option("--val-ratio", help=_help("val_ratio"))]
TestRatio = Annotated[float, typer.Option("--test-ratio", help=_help("test_ratio"))]
Rank = Annotated[RankMetric, typer.Option("--rank-metric", help=_help("rank_metric"))]
Lead = Annotated[LeadAmongTies, typer.Option("--lead-among-ties", help=_help("lead_among_ties"))]
TemporalCheck = Annotated[bool, typer.Option("--temporal-check/--no-temporal-check", help=_help("temporal_check"))]
MaxEpochs = Annotated[int, typer.Option("--max-epochs", help=_help("max_epochs"))]
Patience = Annotated[int, typer.Option("--patience", help=_help("patience"))]
ProjectorDim = Annotated[int, typer.Option("--projector-dim", help=_help("projector_dim"))]
FeatureSetOption = Annotated[FeatureSet, typer.Option("--feature-set", help=_help("feature_set_version"))]
DeviceOption = Annotated[Device, typer.Option("--device", help=_help("device"))]
MaxQuarantined = Annotated[float, typer.Option("--max-quarantined-fraction", help=_help("max_quarantined_fraction"))]
Extra = Annotated[list[str], typer.Option("--extra-feature", help=f"{_help('extra_features')}; repeatable.")]
Exclude = Annotated[list[str], typer.Option("--exclude-feature", help=f"{_help('exclude_features')}; repeatable.")]
MaxLost = Annotated[float, typer.Option("--max-lost-fraction", help=_help("max_lost_fraction"))]
Bags = Annotated[int, typer.Option("--bags", help=_help("bags"))]
Refit = Annotated[bool, typer.Option("--refit/--no-refit", help=_help("refit"))]
MaxTextLoss = Annotated[float, typer.Option("--max-text-loss", help=_help("max_text_loss"))]
SliceLimits = Annotated[list[str], typer.Option("--slice-limit", help=f"{_help('slice_limits')}; repeatable.")]
Probes = Annotated[LeakageProbes, typer.Option("--leakage-probes", help=_help("leakage_probes"))]
MaxExplains = Annotated[float, typer.Option("--max-feature-explains", help=_help("max_feature_explains"))]
EmbargoDays = Annotated[int | None, typer.Option("--embargo-days", help=_help("embargo_days"))]
PresetVersion = Annotated[int | None, typer.Option("--preset-version", help=_help("preset_version"))]
Label = Annotated[str, typer.Option("--run-label", help=_help("run_label"))]

OneStrategy = Annotated[Strategy | None, typer.Option("--strategy", help="Fusion strategy, where the step takes one.")]
OneHorizon = Annotated[
    Horizon | None, typer.Option("--horizon", help="Horizon in days, where the step takes one.", **_HORIZON)
]
OneModel = Annotated[Family | None, typer.Option("--model", help="Model family, where the step takes one.")]

OnlyStrategy = Annotated[Strategy | None, typer.Option("--strategy", help="Only this fusion strategy. Default: all.")]
OnlyHorizon = Annotated[
    Horizon | None, typer.Option("--horizon", help="Only this horizon, in days. Default: all.", **_HORIZON)
]
OnlyModel = Annotated[Family | None, typer.Option("--model", help="Only this model family. Default: all.")]

MaxAgeHours = Annotated[
    float | None,
    typer.Option(
        "--max-age-hours",
        help=f"{_help('stale_after_hours', AlertSettings)}. "
        f"Default: CLIPFARM_STALE_AFTER_HOURS, else {default('stale_after_hours', AlertSettings):g}",
    ),
]
KeepDays = Annotated[int, typer.Option("--keep-days", help=_help("keep_days", MaintenanceParams))]
DryRun = Annotated[bool, typer.Option("--dry-run", help=_help("dry_run", MaintenanceParams))]

TunedModels = Annotated[list[Family], typer.Option("--model", help=f"{_help('models', TuningParams)}; repeatable.")]
TunedStrategy = Annotated[Strategy, typer.Option("--strategy", help=_help("strategy", TuningParams))]
TunedHorizon = Annotated[Horizon, typer.Option("--horizon", help=_help("horizon", TuningParams), **_HORIZON)]
Trials = Annotated[int, typer.Option("--trials", help=_help("trials", TuningParams))]
Minutes = Annotated[int, typer.Option("--minutes", help=_help("minutes", TuningParams))]
StaleMinutes = Annotated[int, typer.Option("--stale-minutes", help=_help("stale_minutes", TuningParams))]
