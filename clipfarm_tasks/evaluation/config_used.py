"""config_used.json: everything a reader needs to train the same models again."""

from collections.abc import Mapping, Sequence
from typing import Any

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.json_safe import json_safe
from clipfarm_tasks.evaluation.scope import TARGET_TRANSFORM, Scope, in_family_order
from clipfarm_tasks.evaluation.shared_data import require_shared_data
from clipfarm_tasks.evaluation.training_data import TrainingData
from clipfarm_tasks.families import ENSEMBLE, Family

_OWN = ("hyperparams", "training_data_sha256")  # keyed by family, and merged by it
_PER_FAMILY = frozenset({"model_family", "trained_models", "device", "devices", "versions", *_OWN})


def config_used(
    scope: Scope,
    data: TrainingData,
    hyperparams: Mapping[str, Any],
    device: str,
    training_data_sha256: Mapping[str, str],
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """The document of a training job, JSON-safe.

    Args:
        scope: the job's snapshot; its family is set.
        data: what it was trained on.
        hyperparams: JSON-ready recipe as used, values found while fitting included.
        device: cpu or cuda.
        training_data_sha256: digests (hex) of the ``features`` and the ``target`` it was fitted and judged on.
        versions: see `clipfarm_tasks.code_version.library_versions`.

    Returns:
        ``hyperparams``, ``training_data_sha256`` and ``devices`` are keyed by family.

    Raises:
        DataError: the run has no manifest of the strategy.
    """
    config, params, family = scope.config, scope.config.params, scope.model_family
    manifest = config.inputs.manifests.get(scope.strategy)
    if manifest is None:
        raise DataError(f"expected a pinned fused manifest of {scope.strategy}, got none, in {scope.where}")
    schema, presets = config.inputs.schemas.get(scope.strategy), config.inputs.presets
    document: dict[str, Any] = json_safe(
        {
            **scope.header(),
            "config_digest": config.digest,
            "git_sha": config.code.git_sha,
            "package_version": config.code.package,
            "trained_models": [family],
            "target_transform": TARGET_TRANSFORM,
            "seed": params.seed,
            "splits": {
                "strategy": str(params.split_strategy),
                "train": params.train_ratio,
                "val": params.val_ratio,
                "test": params.test_ratio,
            },
            "device": device,
            "devices": {family: device},
            "rank_metric": str(params.rank_metric),
            "feature_set_version": str(params.feature_set_version),
            "median_feature_lag_hours": data.report.feature_lag_hours,
            **data.spec.model_dump(exclude={"unknown_columns"}),
            "fused_manifest_s3_key": manifest.key,
            "inputs": {
                "metadata": config.inputs.metadata.model_dump(mode="json"),
                "fused_manifest": manifest.model_dump(mode="json"),
                "fused_schema": None if schema is None else schema.model_dump(mode="json"),
                **({} if presets is None else {"presets": presets.model_dump(mode="json")}),
            },
            "table_versions": dict(sorted(data.table_versions.items())),
            "table_ids": dict(sorted(data.table_ids.items())),
            "params": params.model_dump(mode="json"),
            "hyperparams": {family: hyperparams},
            "training_data_sha256": {family: training_data_sha256},
            "versions": dict(versions),
        }
    )
    return document


def merge_config_used(scope: Scope, documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The pair's document out of its jobs'; ``device`` is cuda when any family used it.

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
    sha256 = {name: documents[name]["training_data_sha256"][name] for name in families if name != ENSEMBLE}
    require_shared_data({Family(name): digests for name, digests in sha256.items()}, scope.where)
    devices = {name: documents[name]["devices"][name] for name in families}
    return {
        **first,
        **scope.header(),
        "trained_models": families,
        "device": "cuda" if "cuda" in devices.values() else "cpu",
        "devices": devices,
        **{own: {name: documents[name][own][name] for name in families} for own in _OWN},
        "versions": _versions([documents[name]["versions"] for name in families]),
    }


def _versions(documents: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {
        library: ", ".join(sorted({document.get(library, "unknown") for document in documents}))
        for library in documents[0]
    }
