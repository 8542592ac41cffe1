import json
from dataclasses import replace

import pytest

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.config_used import config_used, merge_config_used
from clipfarm_tasks.evaluation.scope import Scope
from clipfarm_tasks.families import PRESETS, Family

FIELDS = [
    "generated_at", "run_id", "git_sha", "fusion_strategy", "target_horizon_days", "model_family", "trained_models",
    "target_transform", "seed", "splits", "device", "rank_metric", "feature_set_version", "numeric_cols",
    "categorical_cols", "dropped_metadata_cols", "excluded_high_card", "excluded_leakage", "fused_manifest_s3_key",
    "hyperparams", "versions",
]  # fmt: skip
VERSIONS = {"python": "3.11", "torch": "2.9+cpu"}


@pytest.fixture
def make(pair, data):
    def make(family: str, device: str = "cpu", versions=VERSIONS, scope: Scope | None = None, data=data):
        job = replace(scope or pair, family=Family(family))
        sha256 = {"features": f"sees {PRESETS[Family(family)].sees_fused}", "target": "t"}
        return config_used(job, data, {"alpha": len(family)}, device, sha256, versions)

    return make


def test_contract_fields_inputs_and_valid_json(make):
    document = make("ridge")
    assert set(FIELDS) <= set(document)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["inputs"]["metadata"] == {"key": "meta.csv", "etag": "e1", "size": 10}
    assert document["inputs"]["fused_manifest"]["etag"] == "m-concat"
    assert document["inputs"]["fused_schema"] is None
    assert document["fused_manifest_s3_key"] == "fused/concat.parquet"
    assert document["table_versions"] == {"fused_concat": 9, "modalities": 4}
    assert document["table_ids"] == {"fused_concat": "f", "modalities": "m"}
    assert document["config_digest"] == "d" * 64
    assert document["hyperparams"] == {"ridge": {"alpha": 5}}
    assert document["training_data_sha256"] == {"ridge": {"features": "sees True", "target": "t"}}


def test_a_run_without_the_strategys_manifest_is_refused(pair, data):
    inputs = pair.config.inputs.model_copy(update={"manifests": {}})
    scope = replace(pair, config=pair.config.model_copy(update={"inputs": inputs}))
    with pytest.raises(DataError, match="expected a pinned fused manifest of concat, got none, in run r1"):
        config_used(scope, data, {}, "cpu", {}, VERSIONS)


def test_merging_keeps_what_is_shared_and_keys_the_rest_by_family(make, pair):
    jobs = {"gbdt": make("gbdt"), "concat_mlp": make("concat_mlp", "cuda", {"python": "3.11", "torch": "2.9+cu128"})}
    merged = merge_config_used(pair, jobs)
    assert (merged["model_family"], merged["trained_models"]) == ("all", ["concat_mlp", "gbdt"])
    assert merged["hyperparams"] == {"concat_mlp": {"alpha": 10}, "gbdt": {"alpha": 4}}
    assert merged["training_data_sha256"] == {
        "concat_mlp": {"features": "sees True", "target": "t"},
        "gbdt": {"features": "sees True", "target": "t"},
    }
    assert (merged["device"], merged["devices"]) == ("cuda", {"concat_mlp": "cuda", "gbdt": "cpu"})
    assert merged["versions"] == {"python": "3.11", "torch": "2.9+cpu, 2.9+cu128"}
    assert set(merged) == set(jobs["gbdt"])
    assert merged["seed"] == jobs["gbdt"]["seed"]


def test_merging_one_job_changes_only_whose_document_it_is(make, pair):
    job = make("ridge")
    assert merge_config_used(pair, {"ridge": job}) == {**job, "model_family": "all"}


def test_jobs_of_other_configs_do_not_merge(make, make_config, pair, data):
    other_seed = Scope(make_config(seed=1), pair.strategy, pair.horizon)
    with pytest.raises(DataError, match=r"expected params of all jobs to be equal, got .* of ridge and .* of gbdt"):
        merge_config_used(pair, {"ridge": make("ridge"), "gbdt": make("gbdt", scope=other_seed)})
    fewer = data.spec.model_copy(update={"numeric_cols": ("subscribers",)})
    other = replace(data, report=data.report.model_copy(update={"features": fewer}))
    with pytest.raises(
        DataError, match=r"expected numeric_cols of all jobs to be equal, .*, in config_used\.json, run r1"
    ):
        merge_config_used(pair, {"ridge": make("ridge"), "gbdt": make("gbdt", data=other)})
