"""The best family of a pair, trained on the past and tested on the future."""

import json

import numpy as np
import pandas as pd
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.families import ENSEMBLE, Family, Horizon, Strategy
from clipfarm_tasks.steps import train as train_module
from clipfarm_tasks.tuning.preset_file import publish_presets
from tests.tuning.made_presets import TUNED_ON, found

PAIR = (Strategy.CONCAT, Horizon.D7)


class Recorded:
    """Stands in for `create` and keeps the rows and labels of every fit, refit and prediction."""

    def __init__(self, create):
        self.create, self.fits = create, []

    def __call__(self, family, recipe, bags):
        model, calls = self.create(family, recipe, bags), {"family": family, "recipe": recipe, "asked": []}
        fit, refit, predict = model.fit, model.refit, model.predict

        def fitted(train, train_target, val, val_target, options):
            calls.update(train=train_target.tolist(), val=val_target.tolist())
            return fit(train, train_target, val, val_target, options)

        def refitted(rows, target, options):
            calls["refit"] = target.tolist()
            return refit(rows, target, options)

        def predicted(rows):
            calls["asked"].append(len(rows))
            return predict(rows)

        model.fit, model.refit, model.predict = fitted, refitted, predicted
        self.fits.append(calls)
        return model


@pytest.fixture
def fits(monkeypatch):
    recorded = Recorded(train_module.create)
    monkeypatch.setattr(train_module, "create", recorded)
    return recorded.fits


@pytest.fixture
def spread(upstream, store):
    """60 videos, captured one a day, every label another one; the last of them at no time that can be read."""
    upstream = type(upstream)(store, videos=60)
    days = pd.date_range("2026-01-01", periods=60, tz="UTC").strftime("%Y-%m-%dT%H:%M:%S+00:00").tolist()
    order = np.random.default_rng(7).permutation(60)
    times = pd.Series(days).iloc[order].tolist()
    times[3] = "nobody knows"
    upstream.metadata["captured_at"] = np.tile(times, 2)
    upstream.metadata["published_at"] = "2025-12-01T00:00:00+00:00"
    upstream.metadata["horizon_view_count"] = np.tile(np.arange(60) * 13 + 5, 2)
    upstream.upload()
    return upstream


def checked(run):
    return run.json(f"{keys.pair_snapshot(run.id, *PAIR)}metrics_summary.json")["temporal_check"]


def test_what_is_learnt_was_known_before_the_first_test_video_was_published(spread, run, fits):
    run.resolve(seed=3)
    run.jobs()
    run.step("publish_snapshot", *PAIR)
    found, calls = checked(run), fits[-1]
    assert len(fits) == 2  # the job and the check
    split = run.frame(f"{keys.pair_snapshot(run.id, *PAIR)}split_manifest.parquet").set_index("video_id")
    metadata = spread.metadata.drop_duplicates("video_id").set_index("video_id").loc[split.index]
    captured = pd.Series(pd.to_datetime(metadata["captured_at"], errors="coerce", utc=True), split.index)
    ordered = split.loc[captured.dropna().sort_values().index, "target_log"].astype("f4")
    n = len(ordered)
    assert n == 59
    n_train, n_val = int(n * 0.7), int(n * 0.15)
    test = ordered.iloc[n_train + n_val :]
    known = captured[ordered.index] <= captured[test.index[0]] - pd.Timedelta(days=7)
    train, val = ordered.iloc[:n_train][known[:n_train]], ordered.iloc[n_train : n_train + n_val]
    assert sorted(calls["train"]) == sorted(train)
    assert sorted(calls["val"]) == sorted(val)
    assert sorted(calls["refit"]) == sorted([*train, *val[known[val.index]]])
    assert len(calls["refit"]) < len(train) + len(val)  # the embargo holds back some of val
    assert calls["asked"] == [len(val), len(test)]
    assert (found["n_train"], found["n_val"], found["n_test"]) == (len(train), len(val), len(test))
    assert found["dropped"] == {"no_capture_time": 1}
    assert (found["family"], found["skipped"], found["embargo_days"]) == ("ridge", None, 7)


def test_the_presets_that_the_run_names_train_here_too(spread, run, fits, store):
    publish_presets(store, TUNED_ON, {Family.RIDGE: found(**{"categories.min_frequency": 7})})
    run.resolve(preset_version=1)
    run.jobs()
    run.step("publish_snapshot", *PAIR)
    assert [calls["recipe"].categories.min_frequency for calls in fits] == [7, 7]  # the job and the check


def test_rows_in_the_gap_are_dropped_and_counted(spread, run, fits):
    run.resolve(embargo_days=20)
    run.jobs()
    run.step("publish_snapshot", *PAIR)
    found = checked(run)
    assert found["dropped"]["embargo"] > 0
    assert found["n_train"] == 41 - found["dropped"]["embargo"] == len(fits[-1]["train"])


def test_numbers_are_those_of_the_rows_that_were_tested(spread, run):
    run.resolve()
    run.jobs()
    run.step("publish_snapshot", *PAIR)
    found = checked(run)
    own = run.json(f"{keys.job_snapshot(run.id, Family.RIDGE, *PAIR)}metrics_summary.json")["models"]["ridge"]["test"]
    assert found["own_test"]["rmse_log"] == pytest.approx(own["rmse_log"])
    ratio = found["future_test"]["rmse_log"] / own["rmse_log"]
    assert found["optimism_percent"] == pytest.approx(100 * (ratio - 1))
    run.step("leaderboard")
    (told,) = run.json(f"{keys.comparison(run.id)}metrics_comparison.json")["temporal_checks"]
    assert told == {"target_horizon_days": 7, "fusion_strategy": "concat", **found}


def test_what_is_published_otherwise_does_not_depend_on_it(spread, run):
    found = []
    for run_id, asked in (("with", True), ("without", False)):
        run.resolve(run_id, temporal_check=asked, models=["ridge", "gbdt"])
        run.jobs()
        run.step("ensemble", *PAIR)
        run.step("publish_snapshot", *PAIR)
        files = run.files(keys.pair_snapshot(run.id, *PAIR))
        found.append((files["predictions/test.parquet"], json.loads(files["metrics_summary.json"])))
    (with_it, told), (without, silent) = found
    assert with_it == without
    assert told["models"] == silent["models"]
    assert silent["temporal_check"] is None
    best = min((told["models"][name]["val"]["rmse_log"], name) for name in ("ridge", "gbdt"))[1]
    assert told["temporal_check"]["family"] == best != ENSEMBLE
    run.step("leaderboard")
    assert run.json(f"{keys.comparison(run.id)}metrics_comparison.json")["temporal_checks"] == []


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"split_strategy": "chronological", "embargo_days": 1}, "the split is chronological: the jobs' own test"),
        ({"embargo_days": 3000}, "expected rows captured at least 3000 days .* the temporal check of concat"),
        ({"embargo_days": 45}, "expected at least 12 rows to train, got"),
    ],
)
def test_a_check_that_cannot_be_made_says_why_and_fails_nobody(spread, run, fits, params, reason):
    run.resolve(**params)
    run.jobs()
    before = len(fits)
    run.step("publish_snapshot", *PAIR)
    assert len(fits) == before
    found = checked(run)
    assert set(found) == {"family", "split_strategy", "skipped"}
    assert pd.Series([found["skipped"]]).str.contains(reason).all()


def test_a_family_that_trains_in_pods_is_not_trained_in_a_worker(spread, run, fits, monkeypatch):
    run.resolve()
    run.jobs()
    monkeypatch.setenv("CLIPFARM_TRAIN_BACKEND", "kubernetes")
    run.step("publish_snapshot", *PAIR)
    assert checked(run)["skipped"] == "ridge trains in pods, and this check would train in a worker"
    assert len(fits) == 1
