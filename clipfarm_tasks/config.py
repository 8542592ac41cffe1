"""What a run is asked to do (`RunParams`) and where it runs (`Settings`).

Defaults, limits and descriptions live here alone: the Airflow form and the command line are derived from them.
"""

import os
from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import DEFAULT_FAMILIES, Device, Family, Horizon, Strategy
from clipfarm_tasks.slice_limits import FORM, parse_limit

RATIO_TOLERANCE = 1e-6


class SplitStrategy(StrEnum):
    """How rows are assigned to train, validation and test."""

    RANDOM = "random"
    CHRONOLOGICAL = "chronological"
    CREATOR = "creator"


class RankMetric(StrEnum):
    """Validation metric that orders the leaderboard: errors ascending, r2 descending."""

    RMSE_LOG = "val_rmse_log"
    MAE_LOG = "val_mae_log"
    R2_LOG = "val_r2_log"
    RMSE_RAW = "val_rmse_raw"
    MAE_RAW = "val_mae_raw"


class LeadAmongTies(StrEnum):
    """Which of the jobs that cannot be told from the best of their horizon leads it."""

    BEST = "best"
    CHEAPEST = "cheapest"


class FeatureSet(StrEnum):
    """How raw numerics are prepared."""

    V1_TRAINING_SUITE = "v1_training_suite"
    V2_LOG_COUNTS = "v2_log_counts"
    V3 = "v3"


class LeakageProbes(StrEnum):
    """What becomes of a leak that a probe finds."""

    BLOCK = "block"
    REPORT = "report"


class Frozen(BaseModel):
    """Base of every config and contract: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RunParams(Frozen):
    """The request: what a person chooses in the trigger form or on the command line."""

    strategies: tuple[Strategy, ...] = Field(
        default=tuple(Strategy), min_length=1, description="Fusion strategies to train on"
    )
    horizons: tuple[Horizon, ...] = Field(
        default=tuple(Horizon), min_length=1, description="Prediction horizons, in days after publication"
    )
    models: tuple[Family, ...] = Field(default=DEFAULT_FAMILIES, min_length=1, description="Model families to train")
    split_strategy: SplitStrategy = Field(
        default=SplitStrategy.RANDOM,
        description="random: seeded order of the videos; chronological: oldest captures train, newest test; creator: "
        "seeded order of the channels, none of them in two parts",
    )
    seed: int = Field(default=42, ge=0, le=2**31 - 1, description="Seed of the split and of every model")
    train_ratio: float = Field(default=0.70, gt=0, lt=1, description="Fraction of the rows that train (0 to 1)")
    val_ratio: float = Field(
        default=0.15, gt=0, lt=1, description="Fraction of the rows that select and stop early (0 to 1)"
    )
    test_ratio: float = Field(default=0.15, gt=0, lt=1, description="Fraction of the rows held out (0 to 1)")
    rank_metric: RankMetric = Field(default=RankMetric.RMSE_LOG, description="Metric that orders the leaderboard")
    lead_among_ties: LeadAmongTies = Field(
        default=LeadAmongTies.BEST,
        description="Which of the jobs that cannot be told from the best of their horizon leads: the best by the rank "
        "metric, or the cheapest to serve",
    )
    temporal_check: bool = Field(
        default=True,
        description="Train the best family of each pair once more, on the past of its rows, and test on their future",
    )
    max_epochs: int = Field(default=40, ge=1, le=1000, description="Most epochs a neural family trains")
    patience: int = Field(
        default=6, ge=1, le=1000, description="Epochs without a better validation RMSE before a neural family stops"
    )
    projector_dim: int = Field(
        default=128, ge=1, le=2048, description="Width the fused vector is projected to for gbdt, in columns"
    )
    feature_set_version: FeatureSet = Field(
        default=FeatureSet.V3,
        description="v3: as v2_log_counts, with ratios, text statistics, the time of day, what became of similar texts "
        "and of the creator's earlier videos, of the capture nearest to publication; v2_log_counts: log1p of "
        "heavy-tailed counts first; v1_training_suite: raw numerics",
    )
    refit: bool = Field(
        default=True,
        description="All families but gbdt, which gains nothing: fit once more on train and val together after val has "
        "chosen the epochs; metrics of val stay those of the fit that has not seen it",
    )
    bags: int = Field(
        default=1,
        ge=1,
        le=20,
        description="Fits of each family with seeds of their own, whose mean predicts; ridge, which has no seed, is "
        "fitted once",
    )
    device: Device = Field(
        default=Device.AUTO, description="Device of the neural families; auto takes CUDA when there is one"
    )
    max_quarantined_fraction: float = Field(
        default=0.05, ge=0, le=1, description="Largest fraction of unusable vector rows a run accepts (0 to 1)"
    )
    extra_features: tuple[str, ...] = Field(
        default=(),
        description="Columns of the metadata that become features although their names sound like leakage",
    )
    exclude_features: tuple[str, ...] = Field(
        default=(), description="Columns of the metadata that do not become features"
    )
    max_lost_fraction: float = Field(
        default=0.2, ge=0, le=1, description="Largest fraction of the labelled videos a pair may lose (0 to 1)"
    )
    max_text_loss: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Largest fraction of the text vectors that may be lost, against those the manifests name and those "
        "of the last complete run (0 to 1)",
    )
    leakage_probes: LeakageProbes = Field(
        default=LeakageProbes.BLOCK,
        description="block: the gate fails a run in whose rows a probe finds a leak; report: the leaderboard tells it",
    )
    max_feature_explains: float = Field(
        default=0.90,
        gt=0,
        le=1,
        description="Most that one feature alone, or its being missing, may explain of the target: more is a leak "
        "(absolute rank correlation, 0 to 1)",
    )
    embargo_days: int | None = Field(
        default=None,
        ge=0,
        le=3650,
        description="chronological: days before the first test capture by which a label must have been known to train; "
        "empty: the horizon",
    )
    slice_limits: tuple[str, ...] = Field(
        default=(),
        description="How well the best model of each horizon must do on slices of the test part, for the run to end "
        f"well: {FORM}",
    )
    preset_version: int | None = Field(
        default=None,
        ge=1,
        description="Version of the preset file, found by tuning, whose values train; empty: the presets of the code",
    )
    run_label: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="Free label recorded with the run: up to 64 letters, digits, dots, underscores or hyphens",
    )

    @field_validator("horizons", mode="before")
    @classmethod
    def _horizons_from_text(cls, value: Any) -> Any:
        """Accept the texts the trigger form sends for its multi-select."""
        if isinstance(value, list | tuple):
            return [int(item) if isinstance(item, str) and item.isdecimal() else item for item in value]
        return value

    @field_validator("strategies", "horizons", "models")
    @classmethod
    def _in_canonical_order(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        """Order and multiplicity of a selection mean nothing, so they must not change the digest."""
        kinds: set[type[Enum]] = {type(item) for item in value}
        return tuple(item for kind in kinds for item in kind if item in value)

    @field_validator("extra_features", "exclude_features", "slice_limits")
    @classmethod
    def _in_alphabetical_order(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """As for the selections; the form sends a blank line as an empty text."""
        return tuple(sorted({name.strip() for name in value} - {""}))

    @field_validator("exclude_features")
    @classmethod
    def _wanted_or_not(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        both = sorted(set(value) & set(info.data.get("extra_features", ())))
        if both:
            raise ValueError(f"exclude_features and extra_features must not share a name, both hold {', '.join(both)}")
        return value

    @field_validator("slice_limits")
    @classmethod
    def _limits_are_limits(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Each in one spelling, so that two of the same meaning have the same digest."""
        limits, problems = [], []
        for text in value:
            try:
                limits.append(str(parse_limit(text)))
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise ValueError("; ".join(problems))
        return tuple(sorted(set(limits)))

    @model_validator(mode="after")
    def _ratios_sum_to_one(self) -> Self:
        total = self.train_ratio + self.val_ratio + self.test_ratio
        if abs(total - 1.0) > RATIO_TOLERANCE:
            raise ValueError(
                f"train_ratio + val_ratio + test_ratio must be 1, got "
                f"{self.train_ratio} + {self.val_ratio} + {self.test_ratio} = {total:g}"
            )
        return self

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "RunParams":
        """Build params from untrusted values.

        Raises:
            ConfigError: one message that lists every problem at once.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            # A selection whose every item was refused is also "too short": that says nothing new.
            problems = [sentence(item) for item in error.errors() if item["type"] != "too_short" or not item["input"]]
            # Field errors hide the cross-field rule: state it too, so that one look shows everything to fix.
            if error.errors()[0]["loc"]:
                problems += _ratio_problem(values)
            raise ConfigError(
                f"run parameters: {len(problems)} problem(s)\n" + "\n".join(f"  - {problem}" for problem in problems)
            ) from error


def sentence(item: Any) -> str:
    """What pydantic found wrong with one parameter, and what it received."""
    where = ".".join(str(part) for part in item["loc"]) or "params"
    message = item["msg"].removeprefix("Value error, ")
    received = "" if item["type"] == "value_error" and not item["loc"] else f", got {item['input']!r}"
    return f"{where}: {message}{received}"


def _ratio_problem(values: Mapping[str, Any]) -> list[str]:
    names = ("train_ratio", "val_ratio", "test_ratio")
    ratios = {name: values.get(name, RunParams.model_fields[name].default) for name in names}
    try:
        RunParams.model_validate(ratios)
    except ValidationError as error:
        return [sentence(item) for item in error.errors() if not item["loc"]]
    return []


class Settings(Frozen):
    """Where the pipeline runs: read from the environment, never part of a run's digest.

    Blanks and line ends around a value are what an editor or ``echo`` left there: they are cut off.
    """

    model_config = ConfigDict(str_strip_whitespace=True)

    bucket: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="CLIPFARM_BUCKET: bucket of all keys")
    endpoint_url: str | None = Field(
        default=None,
        pattern=r"^https?://[!-.0-~]+(/[!-~]*)?$",
        description="AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL: S3 server other than AWS, with http(s)://",
    )
    region: str = Field(
        default="us-east-1", pattern=r"^[A-Za-z0-9._-]+$", description="AWS_REGION or AWS_DEFAULT_REGION"
    )
    train_threads: int = Field(
        default=1,
        ge=1,
        le=512,
        description="CLIPFARM_TRAIN_THREADS: CPU threads per training job; jobs already run side by side",
    )
    request_timeout_s: float = Field(
        default=60.0, gt=0, description="CLIPFARM_S3_TIMEOUT: seconds of silence before one S3 request is retried"
    )
    retry_timeout_s: float = Field(
        default=120.0, ge=0, description="CLIPFARM_S3_RETRY_TIMEOUT: seconds of retries before a request fails"
    )
    concurrency: int = Field(default=64, ge=1, le=1024, description="CLIPFARM_S3_CONCURRENCY: object reads in flight")
    in_flight_mib: int = Field(
        default=256,
        ge=1,
        description="CLIPFARM_S3_IN_FLIGHT_MIB: MiB of objects being read or waiting for their turn; one larger object "
        "still passes, alone",
    )
    upstream_prefixes: str = Field(
        default="clipfarm/embeddings/,clipfarm/fused/",
        pattern=r"^[^,/][^,]*/(,[^,/][^,]*/)*$",
        description="CLIPFARM_UPSTREAM_PREFIXES: folders that a manifest's keys may lead to, each with its closing "
        "slash, between commas",
    )
    train_memory_mib: int = Field(
        default=1024,
        ge=0,
        description="CLIPFARM_TRAIN_MEMORY_MIB: MiB of vectors a training job keeps in memory; more are memory-mapped "
        "from a temporary file",
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings.

        Raises:
            ConfigError: a variable is missing or malformed; names the variable.
        """
        env = os.environ if environ is None else environ
        found = {variable: value.strip() for variable, value in env.items() if value.strip()}
        if found.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
            found = {variable: value for variable, value in found.items() if "ENDPOINT_URL" not in variable}
        values = {
            name: next(filter(None, map(found.get, (_BEFORE.get(name, ""), variable, _AFTER.get(name, "")))), None)
            for name, variable in _VARIABLES.items()
        }
        given = {name: value for name, value in values.items() if value is not None}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            problems = [_setting_problem(item) for item in error.errors()]
            raise ConfigError("environment: " + "; ".join(problems)) from error

    def where_silent(self, found: Mapping[str, str | None]) -> Self:
        """These settings, with what was found elsewhere for those that are not set.

        Raises:
            ConfigError: what was found is malformed.
        """
        missing = {name: value for name, value in found.items() if value and name not in self.model_fields_set}
        try:
            return self.model_validate(self.model_dump(exclude_unset=True) | missing)
        except ValidationError as error:
            problems = [_setting_problem(item) for item in error.errors()]
            raise ConfigError("AWS configuration: " + "; ".join(problems)) from error

    def environment(self) -> dict[str, str]:
        """The variables that `from_environment` reads these settings from."""
        values = {variable: getattr(self, name) for name, variable in _VARIABLES.items()}
        return {variable: str(value) for variable, value in values.items() if value is not None}


def _setting_problem(item: Any) -> str:
    variable = _VARIABLES[str(item["loc"][0])]
    if item["type"] == "missing":
        return f"expected {variable}, got nothing: it is not set"
    return f"{variable}: {item['msg']}, got {item['input']!r}"


_VARIABLES = {
    "bucket": "CLIPFARM_BUCKET",
    "endpoint_url": "AWS_ENDPOINT_URL",
    "region": "AWS_REGION",
    "train_threads": "CLIPFARM_TRAIN_THREADS",
    "request_timeout_s": "CLIPFARM_S3_TIMEOUT",
    "retry_timeout_s": "CLIPFARM_S3_RETRY_TIMEOUT",
    "concurrency": "CLIPFARM_S3_CONCURRENCY",
    "in_flight_mib": "CLIPFARM_S3_IN_FLIGHT_MIB",
    "upstream_prefixes": "CLIPFARM_UPSTREAM_PREFIXES",
    "train_memory_mib": "CLIPFARM_TRAIN_MEMORY_MIB",
}
# What AWS tools read instead of the variable above: before it, and where it is not set.
_BEFORE = {"endpoint_url": "AWS_ENDPOINT_URL_S3"}
_AFTER = {"region": "AWS_DEFAULT_REGION"}
