import json

import numpy as np
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import Family, Horizon, Modality, Strategy
from tests.steps.conftest import Upstream

PAIR = (Strategy.CONCAT, Horizon.D7)


def two_jobs(upstream, run):
    upstream.upload()
    run.resolve(models=["ridge", "gbdt"])
    run.whole()


@pytest.fixture
def whole(made_once):
    return made_once(two_jobs)


def test_counts_the_requested_jobs(finished):
    record = finished.step("gate")
    assert (record.jobs, record.leaderboard_key) == (20, keys.comparison(finished.id))


def test_missing_job_and_pair_are_named(upstream, run):
    upstream.upload()
    run.resolve(models=["ridge", "gbdt"])
    run.splits()
    run.step("train", *PAIR, Family.RIDGE)
    run.step("leaderboard")
    with pytest.raises(
        DataError,
        match="expected 4 complete snapshots .* got 1; missing: concat_7d.train_gbdt, concat_7d.ensemble, "
        "concat_7d.publish_snapshot: what",
    ):
        run.step("gate")


@pytest.mark.parametrize("name", ["predictions/test.parquet", "models/ridge.joblib", "metrics_summary.json"])
def test_deleted_file_of_a_finished_job_is_noticed(whole, store, name):
    assert whole.step("gate").jobs == 3
    store.delete([keys.job_snapshot(whole.id, Family.RIDGE, *PAIR) + name])
    with pytest.raises(
        DataError, match=f"damaged after they were finished: s3://.*model=ridge.*{name}: start a new run"
    ):
        whole.step("gate")


def test_deleted_marker_of_a_pair_is_noticed_and_a_retry_restores_it(whole, store):
    marker = keys.pair_snapshot(whole.id, *PAIR) + keys.SUCCESS
    body = store.get(marker)
    store.delete([marker])
    with pytest.raises(DataError, match="got 3; missing: concat_7d.publish_snapshot"):
        whole.step("gate")
    whole.step("publish_snapshot", *PAIR)
    assert store.get(marker) == body
    assert whole.step("gate").jobs == 3


def test_truncated_file_is_noticed(whole, store):
    store.put(keys.job_snapshot(whole.id, Family.GBDT, *PAIR) + "leaderboard.csv", b"rank")
    with pytest.raises(DataError, match="damaged after they were finished: s3://.*model=gbdt.*leaderboard.csv"):
        whole.step("gate")


@pytest.mark.parametrize("name", ["metrics_summary.json", "models/gbdt.joblib"])
def test_file_of_the_same_size_and_another_content_is_noticed(whole, store, name):
    key = keys.job_snapshot(whole.id, Family.GBDT, *PAIR) + name
    body = store.get(key)
    store.put(key, bytes([body[0] ^ 1]) + body[1:])
    with pytest.raises(
        DataError, match=f"damaged after they were finished: s3://.*model=gbdt.*{name}: start a new run"
    ):
        whole.step("gate")


def test_snapshot_of_another_config_is_refused(whole, store):
    key = keys.job_snapshot(whole.id, Family.GBDT, *PAIR) + keys.SUCCESS
    digest = whole.record.digest
    store.put(key, store.get(key).replace(digest.encode(), b"0" * 64))
    with pytest.raises(DataError, match=f"expected config digest {digest}, got 0{{64}}, in s3://.*_SUCCESS"):
        whole.step("gate")


def test_marker_that_cannot_be_read_is_named_and_hides_nothing(whole, store):
    marker = keys.job_snapshot(whole.id, Family.GBDT, *PAIR) + keys.SUCCESS
    store.put(marker, b"{")
    with pytest.raises(DataError, match="damaged after they were finished: expected a valid Marker, got .*model=gbdt"):
        whole.step("gate")
    assert whole.step("leaderboard").missing == ("concat_7d.gbdt",)


def test_metrics_that_cannot_be_read_count_as_missing_on_the_leaderboard(whole, store):
    store.put(keys.job_snapshot(whole.id, Family.RIDGE, *PAIR) + "metrics_summary.json", b"{")
    record = whole.step("leaderboard")
    assert (record.rows, record.missing) == (2, ("concat_7d.ridge",))


def test_a_run_of_an_earlier_release_has_no_ensemble_and_is_complete_without(upstream, run, store):
    upstream.upload()
    run.resolve(models=["ridge", "gbdt"])
    key = keys.run_config(run.id)
    config = json.loads(store.get(key)) | {"has_ensemble": False}
    del config["params"]["leakage_probes"]
    store.put(key, json.dumps(config).encode())
    run.jobs()
    run.step("publish_snapshot", *PAIR)
    assert run.step("leaderboard").missing == ()
    assert run.step("gate").jobs == 2


def best_slices(run):
    best = run.json(keys.comparison(run.id) + "metrics_comparison.json")["best_by_rank_metric"]["7"]
    return best["model"], run.json(keys.job_snapshot(run.id, best["model"], *PAIR) + "slices.json")


@pytest.fixture
def larger(store):
    """Enough videos for slices of the test part that can be judged."""
    upstream = Upstream(store, videos=150)
    upstream.upload()
    return upstream


def test_broken_limits_of_the_best_model_fail_the_run_and_name_what_was_measured(larger, run, caplog):
    limits = ["creator=unseen:rmse_log<=0.001", "text_present=1:rmse_log<=99", "hour=00-05:rmse_log<=0.001"]
    run.resolve(models=["ridge", "gbdt"], slice_limits=[*limits, "query=cats:rmse_log<=0.001"], leakage_probes="report")
    with pytest.raises(DataError) as caught:
        run.whole()
    model, document = best_slices(run)
    found = document["models"][model]["test"]["creator"]["unseen"]
    assert found["n"] == 23
    message = str(caught.value)
    assert (
        "expected the best model of each horizon to keep slice_limits on the test part, got 1 broken in s3:" in message
    )
    assert f"concat_7d.{model}: creator=unseen has rmse_log {found['rmse_log']:.3f} (" in message
    assert message.endswith("23 rows), limit creator=unseen:rmse_log<=0.001")
    assert "hour=00-05:rmse_log<=0.001 (7 test rows, at least 20 needed) cannot be judged for concat_7d." in caplog.text
    assert "query=cats:rmse_log<=0.001 (the data are not sliced by query" in caplog.text


def test_limits_that_are_kept_let_the_run_end_well(larger, run):
    run.resolve(models=["ridge", "gbdt"], slice_limits=["creator=unseen:rmse_log<=99"], leakage_probes="report")
    assert run.whole().jobs == 3
    comparison = run.json(keys.comparison(run.id) + "metrics_comparison.json")
    model, document = best_slices(run)
    found = document["models"][model]["test"]
    assert {(one["dimension"], one["slice"]) for one in comparison["worst_slices"]["7"]} >= {("creator", "unseen")}
    for one in comparison["worst_slices"]["7"]:
        assert found[one["dimension"]][one["slice"]].items() <= one.items()


def test_a_damaged_slices_file_hides_no_leaderboard_and_is_named(whole, store):
    store.put(keys.job_snapshot(whole.id, "ensemble", *PAIR) + "slices.json", b"{")
    for family in Family.RIDGE, Family.GBDT:
        store.put(keys.job_snapshot(whole.id, family, *PAIR) + "slices.json", b"{")
    assert whole.step("leaderboard").missing == ()
    with pytest.raises(DataError, match="damaged after they were finished: s3://.*slices.json"):
        whole.step("gate")


# Leaks that a probe has found.


@pytest.fixture
def many(store):
    """Enough videos for every probe; nothing of them is uploaded yet."""
    return Upstream(store, videos=300)


def leak_a_feature(many):
    views = many.metadata["horizon_view_count"]
    many.metadata["channel_video_count"] = np.where(views > views.median(), views, views + 1)


def leak_twins(many):
    for modality in Modality:
        for row in range(100, 200):
            many.npy[many.key(modality, row)] = many.vectors[modality][1]


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (
            leak_a_feature,
            (
                r"^leak \(single_feature, horizon 7 days\): expected no feature .* max_feature_explains = 0.9 .*"
                r"channel_video_count 1.00.*: name them in exclude_features.*, in s3://.*leakage/horizon=7.json"
            ),
        ),
        (leak_twins, r"^leak \(twins, horizon 7 days\): expected at most 0.01 of val and of test, .* in \d+ \(vid1"),
    ],
)
def test_a_leak_fails_the_run_and_costs_no_snapshot(many, run, plant, message):
    plant(many)
    many.upload()
    run.resolve()
    with pytest.raises(DataError, match=message):
        run.whole()
    assert run.json(f"{keys.comparison(run.id)}metrics_comparison.json")["missing_jobs"] == []


def test_rows_without_a_leak_pass_every_probe(many, run):
    many.upload()
    run.resolve()
    assert run.whole().jobs == 1
    findings = run.json(f"{keys.comparison(run.id)}metrics_comparison.json")["leakage"]["7"]
    assert len(findings) == 7
    assert {one["verdict"] for one in findings if one["probe"] != "moved_counters"} == {"clean"}
    assert [one["verdict"] for one in findings if one["probe"] == "moved_counters"] == ["unknown"]  # one capture each


def test_a_leak_is_only_reported_where_the_params_say_so(many, run):
    leak_a_feature(many)
    many.upload()
    run.resolve(leakage_probes="report")
    assert run.whole().jobs == 1
    findings = run.json(f"{keys.comparison(run.id)}metrics_comparison.json")["leakage"]["7"]
    assert [one["names"][0] for one in findings if one["verdict"] == "leak"] == ["channel_video_count"]
    run.resolve(run_id="excluded", exclude_features=["channel_video_count"])
    assert run.whole().jobs == 1


def test_missing_jobs_and_leaks_are_told_together(many, run):
    leak_a_feature(many)
    many.upload()
    run.resolve()
    run.splits()
    run.step("baselines", horizon=Horizon.D7)
    with pytest.raises(DataError, match=r"missing: concat_7d.train_ridge.*; leak \(single_feature"):
        run.step("gate")


def test_a_run_of_an_earlier_release_has_no_probes(whole, store):
    key = keys.run_record(whole.id, "baselines_7d")
    record = json.loads(store.get(key))
    store.put(key, json.dumps({name: record[name] for name in ("horizon", "key", "sha256", "rows")}).encode())
    assert whole.step("gate").jobs == 3
    whole.step("leaderboard")
    assert whole.json(f"{keys.comparison(whole.id)}metrics_comparison.json")["leakage"] == {}
    store.delete([key])
    with pytest.raises(DataError, match="expected the leakage probes of baselines_7d, got none: clear it"):
        whole.step("gate")
    config = json.loads(store.get(keys.run_config(whole.id)))
    del config["params"]["leakage_probes"]  # as an earlier release wrote it
    store.put(keys.run_config(whole.id), json.dumps(config).encode())
    assert whole.step("gate").jobs == 3


def test_an_altered_report_of_the_probes_is_refused(whole, store):
    store.put(keys.leakage_report(whole.id, Horizon.D7), b"{}")
    assert whole.step("leaderboard").missing == ()
    with pytest.raises(DataError, match="expected sha256 .* in s3://.*leakage/horizon=7.json"):
        whole.step("gate")
