"""All documents of a snapshot: a training job's from its fit, a pair's from its jobs'."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.config_used import config_used, merge_config_used
from clipfarm_tasks.evaluation.conformal import fit_intervals
from clipfarm_tasks.evaluation.data_summary import data_summary
from clipfarm_tasks.evaluation.json_safe import json_safe
from clipfarm_tasks.evaluation.leaderboard_csv import leaderboard_frame
from clipfarm_tasks.evaluation.metrics_summary import metrics_of, metrics_summary
from clipfarm_tasks.evaluation.predictions import family_metrics, join_predictions, with_interval
from clipfarm_tasks.evaluation.ranking import PARTS
from clipfarm_tasks.evaluation.scope import Scope, in_family_order
from clipfarm_tasks.evaluation.slice_membership import memberships
from clipfarm_tasks.evaluation.slice_quality import merged_slices, slices_document
from clipfarm_tasks.evaluation.slices import slice_metrics
from clipfarm_tasks.evaluation.training_data import TrainingData
from clipfarm_tasks.evaluation.uncertainty import uncertainty


@dataclass(frozen=True)
class Documents:
    """The readable part of a snapshot; the JSON ones are safe for ``json.dumps(..., allow_nan=False)``.

    Attributes:
        config_used: config_used.json.
        data_summary: data_summary.json.
        metrics_summary: metrics_summary.json, with the `uncertainty` of each family.
        slice_metrics: slice_metrics_text_present.json.
        slices: slices.json; empty in a run of an earlier release.
        leaderboard: leaderboard.csv.
        predictions: predictions/<part>.parquet, by part (val, test).
    """

    config_used: Mapping[str, Any]
    data_summary: Mapping[str, Any]
    metrics_summary: Mapping[str, Any]
    slice_metrics: Mapping[str, Any]
    slices: Mapping[str, Any]
    leaderboard: pd.DataFrame
    predictions: Mapping[str, pd.DataFrame]

    def telling(self, **more: Any) -> "Documents":
        """The same with more in metrics_summary.json."""
        return replace(self, metrics_summary={**self.metrics_summary, **json_safe(more)})


def job_documents(
    scope: Scope,
    data: TrainingData,
    hyperparams: Mapping[str, Any],
    device: str,
    training_data_sha256: Mapping[str, str],
    predictions: Mapping[str, pd.DataFrame],
    versions: Mapping[str, str],
) -> Documents:
    """Documents of one training job; see `config_used` for what is not told here.

    Args:
        scope: the job's snapshot; its family is set.
        data: what it was trained on.
        hyperparams: recipe as used.
        device: cpu or cuda.
        training_data_sha256: digests of what it was fitted and judged on.
        predictions: `predictions_frame` of val and of test, with this family's columns.
        versions: versions of the libraries.

    Raises:
        DataError: ``scope`` has no family, a part's predictions are absent, or the data break a rule; see the functions
            of each document.
    """
    if scope.family is None:
        raise DataError(f"expected a training job's scope, got a pair's, in {scope.where}")
    absent = [part for part in PARTS if part not in predictions]
    if absent:
        raise DataError(f"expected predictions of {PARTS}, got none of {absent}, in {scope.where}")
    return _documents(
        scope,
        predictions,
        data,
        config_used(scope, data, hyperparams, device, training_data_sha256, versions),
        data_summary(scope, data),
    )


def ensemble_documents(
    scope: Scope,
    jobs: Mapping[str, Documents],
    data: TrainingData,
    predictions: Mapping[str, pd.DataFrame],
    hyperparams: Mapping[str, Any],
) -> Documents:
    """Documents of the blend of several jobs of a pair.

    Args:
        scope: the ensemble's snapshot.
        jobs: documents of each member, by family.
        data: what the members were trained on.
        predictions: `predictions_frame` of val and of test, with the ensemble's columns.
        hyperparams: the weights and how they were found.

    Raises:
        DataError: the members differ in data, config or rows.
    """
    families = in_family_order(jobs, scope.where)
    members = merge_config_used(scope, {name: jobs[name].config_used for name in families})
    name, device = scope.model_family, members["device"]
    config = {
        **members,
        "trained_models": [name],
        "devices": {name: device},
        "hyperparams": {name: json_safe(hyperparams)},
        "training_data_sha256": {name: members["training_data_sha256"]},
    }
    return _documents(scope, predictions, data, config, _same_data(jobs, families, scope.where))


def _documents(
    scope: Scope,
    predictions: Mapping[str, pd.DataFrame],
    data: TrainingData,
    config: Mapping[str, Any],
    summary: Mapping[str, Any],
) -> Documents:
    """Documents of one model, out of its predictions."""
    name = scope.model_family
    held = predictions["val"]
    model = fit_intervals(held["y_true_log"].to_numpy(), held[f"pred_{name}_log"].to_numpy())
    parts = {part: with_interval(predictions[part], name, model) for part in PARTS}
    metrics = family_metrics(parts, [name])
    creator = data.rows.set_index("video_id")["creator"]
    creators = {part: creator[frame["video_id"]] for part, frame in parts.items()}
    seed = scope.config.params.seed
    sure = {name: uncertainty(parts, creators, name, model, seed)}
    return Documents(
        config_used=config,
        data_summary=summary,
        metrics_summary={**metrics_summary(scope, metrics), "uncertainty": sure},
        slice_metrics=slice_metrics(parts, [name]),
        slices=slices_document(parts, creators, memberships(data.rows, data.features), name, model, seed),
        leaderboard=leaderboard_frame(metrics, scope.config.params.rank_metric),
        predictions=parts,
    )


def pair_documents(scope: Scope, jobs: Mapping[str, Documents]) -> Documents:
    """Documents of a pair out of its jobs'. The jobs' own leaderboards are not read.

    Args:
        scope: the pair's snapshot; its family is None.
        jobs: documents of each finished job, by family.

    Raises:
        DataError: no job, a job without metrics of its family, or jobs that differ in data, config, rows or truth.
    """
    families = in_family_order(jobs, scope.where)
    metrics = {name: metrics_of(jobs[name].metrics_summary, name, f"{name}, {scope.where}") for name in families}
    return Documents(
        config_used=merge_config_used(scope, {name: jobs[name].config_used for name in families}),
        data_summary=_same_data(jobs, families, scope.where),
        metrics_summary={
            **metrics_summary(scope, metrics),
            "uncertainty": {name: jobs[name].metrics_summary["uncertainty"][name] for name in families},
            "cost": {
                name: found for job in jobs.values() for name, found in job.metrics_summary.get("cost", {}).items()
            },
        },
        slice_metrics=json_safe({name: jobs[name].slice_metrics[name] for name in families}),
        slices=merged_slices({name: jobs[name].slices for name in families}),
        leaderboard=leaderboard_frame(metrics, scope.config.params.rank_metric),
        predictions={
            part: join_predictions(
                {name: jobs[name].predictions[part] for name in families}, f"predictions/{part}.parquet, {scope.where}"
            )
            for part in PARTS
        },
    )


def _same_data(jobs: Mapping[str, Documents], families: list[str], where: str) -> Mapping[str, Any]:
    first = jobs[families[0]].data_summary
    for name in families[1:]:
        other = jobs[name].data_summary
        differing = sorted(key for key in first.keys() | other.keys() if first.get(key) != other.get(key))
        if differing:
            raise DataError(
                f"expected all jobs of a pair to have the same data, got another {differing[0]} of {name} than of "
                f"{families[0]}, in data_summary.json, {where}"
            )
    return first
