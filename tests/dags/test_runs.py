"""What becomes of every task, by Airflow's own rules, when steps fail or are not asked for."""

import json
import pathlib

import pytest

from clipfarm_tasks.families import Family
from tests.dags.fresh_process import answer_of

pytestmark = pytest.mark.integration

SCENARIO = pathlib.Path(__file__).parent / "scenario.py"
NOT_SMALL = ("train_concat_mlp", "train_gated_fusion_mlp", "train_tabm", "train_kernel")
SMALL = {"models": ["ridge", "gbdt"], "horizons": ["7"]}
# Of a pair of which nothing can start: what the run did not ask for is skipped here too.
BELOW_A_FAILURE = dict.fromkeys(
    ("build_split", "train_ridge", "train_gbdt", "ensemble", "publish_snapshot"), "upstream_failed"
) | dict.fromkeys(NOT_SMALL, "skipped")
PARTIAL = SMALL | {"strategies": ["concat", "sum_pool"]}
SCENARIOS = {
    "all": {"conf": {"models": list(Family)}, "fail": {}},
    "partial": {"conf": PARTIAL, "fail": {}},
    "manifest missing": {"conf": PARTIAL, "fail": {"resolve_manifest:concat": "MissingObjectError"}},
    "split and job failed": {
        "conf": PARTIAL,
        "fail": {"build_split:concat:7": "DataError", "train:sum_pool:7:ridge": "DataError"},
    },
    "a horizon without rows": {
        "conf": SMALL | {"strategies": ["concat"], "horizons": ["7", "30"]},
        "fail": {"filter_metadata:30": "DataError"},
    },
    "csv refused": {"conf": PARTIAL, "fail": {"scan_metadata": "DataError"}},
    "not resolved": {"conf": SMALL, "fail": {"resolve_run": "ConfigError"}},
    "wrong params": {"conf": {"train_ratio": 0.9, "strategie": ["concat"], "run_label": None}, "fail": {}},
}


@pytest.fixture(scope="module")
def outcomes(airflow_environment):
    return answer_of(airflow_environment, SCENARIO, json.dumps(SCENARIOS))


def states(outcome, prefix):
    return {name.removeprefix(prefix): state for name, state in outcome["states"].items() if name.startswith(prefix)}


def test_everything_succeeds_without_a_logical_date(outcomes):
    outcome = outcomes["all"]
    assert outcome["states"].pop("delete_pods") == "skipped"  # nothing trains in pods here
    assert set(outcome["states"].values()) == {"success"}
    assert len(outcome["states"]) == 71
    assert outcome["state"] == "success"
    assert outcome["seen"]["as_of"] == "2026-03-01T04:30:00+00:00"
    assert outcome["seen"]["source_run_id"] == outcome["run_id"]


@pytest.mark.parametrize("name", ["all", "partial"])
def test_one_small_xcom_per_task(outcomes, name):
    xcoms = outcomes[name]["xcoms"]
    succeeded = [task for task, state in outcomes[name]["states"].items() if state == "success"]
    assert sorted(task for task, _, _ in xcoms) == sorted(succeeded)
    assert {key for _, key, _ in xcoms} == {"return_value"}


def test_what_was_not_asked_for_is_skipped_and_the_rest_succeeds(outcomes):
    outcome = outcomes["partial"]
    asked = dict.fromkeys(("build_split", "train_ridge", "train_gbdt", "ensemble", "publish_snapshot"), "success")
    unasked = dict.fromkeys(NOT_SMALL, "skipped")
    assert states(outcome, "concat_7d.") == asked | unasked
    assert states(outcome, "sum_pool_7d.") == asked | unasked
    for pair in ("max_pool_7d.", "max_pool_30d.", "concat_30d."):
        assert set(states(outcome, pair).values()) == {"skipped"}
    assert outcome["states"]["resolve_manifest_max_pool"] == "skipped"
    assert outcome["states"]["reconstruct_modalities"] == "success"
    assert outcome["states"]["gate"] == "success"
    assert outcome["state"] == "success"


def test_a_missing_manifest_stops_its_strategy_only(outcomes):
    outcome = outcomes["manifest missing"]
    assert outcome["states"]["resolve_manifest_concat"] == "failed"
    assert outcome["states"]["reconstruct_fused_concat"] == "upstream_failed"
    assert states(outcome, "concat_7d.") == BELOW_A_FAILURE
    assert outcome["states"]["reconstruct_modalities"] == "success"
    assert outcome["states"]["sum_pool_7d.publish_snapshot"] == "success"
    assert outcome["states"]["leaderboard"] == "success"
    assert outcome["states"]["gate"] == "failed"
    assert outcome["state"] == "failed"


def test_a_horizon_without_rows_stops_its_pairs_only(outcomes):
    outcome = outcomes["a horizon without rows"]
    assert outcome["states"]["scan_metadata"] == "success"
    assert states(outcome, "concat_30d.") == BELOW_A_FAILURE
    assert outcome["states"]["concat_7d.publish_snapshot"] == "success"
    assert (outcome["states"]["leaderboard"], outcome["states"]["gate"]) == ("success", "failed")


def test_a_refused_csv_stops_every_pair_but_not_the_vectors(outcomes):
    outcome = outcomes["csv refused"]
    assert states(outcome, "filter_metadata_") == {"7d": "upstream_failed", "30d": "skipped"}
    for pair in ("concat_7d.", "sum_pool_7d."):
        assert states(outcome, pair) == BELOW_A_FAILURE
    for step in ("reconstruct_fused_concat", "reconstruct_fused_sum_pool", "reconstruct_modalities", "leaderboard"):
        assert outcome["states"][step] == "success"
    assert outcome["states"]["gate"] == "failed"


def test_a_failed_split_stops_the_jobs_of_its_pair_only(outcomes):
    outcome = outcomes["split and job failed"]
    concat = states(outcome, "concat_7d.")
    assert concat == BELOW_A_FAILURE | {"build_split": "failed"}
    assert outcome["states"]["sum_pool_7d.build_split"] == "success"


def test_a_failed_job_keeps_the_pair_unpublished_and_the_other_jobs(outcomes):
    outcome = outcomes["split and job failed"]
    assert outcome["states"]["sum_pool_7d.train_ridge"] == "failed"
    assert outcome["states"]["sum_pool_7d.train_gbdt"] == "success"
    assert outcome["states"]["sum_pool_7d.publish_snapshot"] == "upstream_failed"
    assert (outcome["states"]["leaderboard"], outcome["states"]["gate"]) == ("success", "failed")


def test_an_error_that_no_retry_can_heal_is_tried_once(outcomes):
    for name in ("manifest missing", "split and job failed", "a horizon without rows", "csv refused"):
        failed = [task for task, state in outcomes[name]["states"].items() if state == "failed"]
        assert len(failed) == len(SCENARIOS[name]["fail"]) + 1  # and the gate
        assert {outcomes[name]["tries"][task] for task in failed} == {1}


@pytest.mark.parametrize("name", ["not resolved", "wrong params"])
def test_an_unresolved_run_starts_nothing(outcomes, name):
    outcome = outcomes[name]
    done = {task for task, state in outcome["states"].items() if state not in {"upstream_failed", "skipped"}}
    # These two start whatever happened upstream: they end at once and say that there is no resolved run.
    assert done == {"resolve_run", "reconstruct_modalities", "leaderboard"}
    assert {outcome["states"][task] for task in done} == {"failed"}
    assert {outcome["tries"][task] for task in done} == {1}
    assert outcome["xcoms"] == []
    assert outcome["state"] == "failed"


def test_what_slips_through_the_form_reaches_resolve_run(outcomes):
    params = outcomes["wrong params"]["seen"]["params"]
    assert params["strategie"] == ["concat"]
    assert params["train_ratio"] == 0.9
    assert "run_label" not in params
