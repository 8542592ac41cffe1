"""config_used.json: everything a reader needs to train the same models again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.json_safe import json_safe
from clipfarm_tasks.evaluation.scope import TARGET_TRANSFORM, Scope, in_family_order

_OWN = ("hyperparams", "training_data_sha256")  # keyed by family, and merged by it
_PER_FAMILY = frozenset({"model_family", "trained_models", "device", "devices", "versions", *_OWN})


class FeatureLists(Protocol):
    """Which metadata columns became features, and why the others did not."""

    @property
    def numeric_cols(self) -> Sequence[str]:
        """Numeric and boolean features."""
        ...

    @property
    def categorical_cols(self) -> Sequence[str]:
        """Categorical features."""
        ...

    @property
    def dropped_metadata_cols(self) -> Sequence[str]:
        """Identifiers and free text."""
        ...

    @property
    def excluded_high_card(self) -> Sequence[str]:
        """Categories with too many values."""
        ...

    @property
    def excluded_leakage(self) -> Sequence[str]:
        """Columns that know the label."""
        ...


@dataclass(frozen=True)
class FamilyUsed:
    """What one fit reports of itself.

    Attributes:
        hyperparams: JSON-ready recipe as used, values found while fitting included.
        device: cpu or cuda.
        training_data_sha256: digests (hex) of the ``features`` and the ``target`` it was fitted and judged on.
    """

    hyperparams: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    training_data_sha256: Mapping[str, str] = field(default_factory=dict)


def config_used(
    scope: Scope,
    features: FeatureLists,
    families: Mapping[str, FamilyUsed],
    table_versions: Mapping[str, int],
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """The document, JSON-safe.

    Args:
        scope: the snapshot.
        features: feature lists of the run's metadata.
        families: what each fit reported; one entry for a job's snapshot.
        table_versions: version trained on, by vector table (``fused_concat``, ``modalities``).
        versions: see `clipfarm_tasks.code_version.library_versions`.

    Returns:
        ``hyperparams``, ``training_data_sha256`` and ``devices`` are keyed by family. ``device`` is cuda when any
        family used it.

    Raises:
        DataError: no or an unknown family, or the run has no manifest of the strategy.
    """
    config, params = scope.config, scope.config.params
    manifest = config.inputs.manifests.get(scope.strategy)
    if manifest is None:
        raise DataError(f"expected a pinned fused manifest of {scope.strategy}, got none, in {scope.where}")
    schema = config.inputs.schemas.get(scope.strategy)
    trained = in_family_order(families, scope.where)
    devices = {name: families[name].device for name in trained}
    document: dict[str, Any] = json_safe(
        {
            **scope.header(),
            "config_digest": config.digest,
            "git_sha": config.code.git_sha,
            "package_version": config.code.package,
            "trained_models": trained,
            "target_transform": TARGET_TRANSFORM,
            "seed": params.seed,
            "splits": {
                "strategy": str(params.split_strategy),
                "train": params.train_ratio,
                "val": params.val_ratio,
                "test": params.test_ratio,
            },
            "device": _overall_device(devices),
            "devices": devices,
            "rank_metric": str(params.rank_metric),
            "feature_set_version": str(params.feature_set_version),
            "numeric_cols": list(features.numeric_cols),
            "categorical_cols": list(features.categorical_cols),
            "dropped_metadata_cols": list(features.dropped_metadata_cols),
            "excluded_high_card": list(features.excluded_high_card),
            "excluded_leakage": list(features.excluded_leakage),
            "fused_manifest_s3_key": manifest.key,
            "inputs": {
                "metadata": config.inputs.metadata.model_dump(mode="json"),
                "fused_manifest": manifest.model_dump(mode="json"),
                "fused_schema": None if schema is None else schema.model_dump(mode="json"),
            },
            "table_versions": dict(sorted(table_versions.items())),
            "params": params.model_dump(mode="json"),
            **{own: {name: getattr(families[name], own) for name in trained} for own in _OWN},
            "versions": dict(versions),
        }
    )
    return document


def merge_config_used(scope: Scope, documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The pair's document out of its jobs'.

    Jobs may have run in different images, so a library's version is a list in text, ``2.9.0+cpu, 2.9.0+cu128``, where
    they differ.

    Args:
        scope: the pair's snapshot.
        documents: config_used by family.

    Raises:
        DataError: no document, or the jobs differ in a field that is not their family's own; names the first such.
    """
    families = in_family_order(documents, scope.where)
    first = documents[families[0]]
    for name in families[1:]:
        other = documents[name]
        for key in sorted((first.keys() | other.keys()) - _PER_FAMILY):
            if first.get(key) != other.get(key):
                raise DataError(
                    f"expected {key} of all jobs to be equal, got {first.get(key)!r} of {families[0]} and "
                    f"{other.get(key)!r} of {name}, in config_used.json, {scope.where}"
                )
    devices = {name: documents[name]["devices"][name] for name in families}
    return {
        **first,
        **scope.header(),
        "trained_models": families,
        "device": _overall_device(devices),
        "devices": devices,
        **{own: {name: documents[name][own][name] for name in families} for own in _OWN},
        "versions": _versions([documents[name]["versions"] for name in families]),
    }


def _overall_device(devices: Mapping[str, str]) -> str:
    return "cuda" if "cuda" in devices.values() else "cpu"


def _versions(documents: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {
        library: ", ".join(sorted({document.get(library, "unknown") for document in documents}))
        for library in documents[0]
    }
