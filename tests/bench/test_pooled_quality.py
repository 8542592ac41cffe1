"""Splits dealt from one run's rows, and the table of what was predicted on them; trees stand in for LightGBM."""

import re
import sys
from dataclasses import replace
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from bench.pooled_quality import REFERENCE, Split, blended, dealt, judge, pooled_table, splits
from clipfarm_tasks.config import RunParams, Settings, SplitStrategy
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.evaluation.training_data import TrainingData
from clipfarm_tasks.families import ENSEMBLE, Baseline, Family, Horizon
from clipfarm_tasks.models.ensemble import blend_weights
from clipfarm_tasks.models.inputs import ModelInputs
from clipfarm_tasks.run_config import RunConfig, RunInputs
from clipfarm_tasks.steps.context import StepContext
from clipfarm_tasks.steps.training_rows import TrainingRows
from tests.bench.test_lightgbm_reference import Trees

N = 157  # no ratio of it is a whole number


@pytest.fixture
def context():
    config = RunConfig.model_construct(
        run_id="run", params=RunParams(embargo_days=2), inputs=RunInputs.model_construct()
    )
    return StepContext(None, Settings(bucket="unused"), config)


@pytest.fixture
def rows():
    """157 videos in a random order, two a day, three of a creator; the views follow a count and a vector."""
    rng = np.random.default_rng(0)
    captured = pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.permutation(N) // 2, unit="D")
    creator = [f"creator {number // 3}" for number in range(N)]
    subscribers, vectors = np.exp(rng.normal(8, 2, N)), rng.normal(size=(N, 4)).astype(np.float32)
    target = (np.log(subscribers) + vectors[:, 0]).astype(np.float32)
    times = pd.Series(captured).astype("datetime64[us]")
    provenance = pd.DataFrame({"creator": creator, "published_at": times - pd.Timedelta(days=7), "captured_at": times})
    metadata = pd.DataFrame({"subscribers": subscribers, "country": pd.Series(["US", None] * N, dtype=object)[:N]})
    present = np.ones(N, np.float32)
    manifest = pd.DataFrame(
        {
            "video_id": [f"v{number:03}" for number in range(N)],
            "split": np.repeat(["train", "val", "test"], [109, 24, 24]),
            "text_present": 1,
            "target_log": target.astype(np.float64),
            "creator": creator,
        }
    )
    spec = SimpleNamespace(numeric_cols=("subscribers",), categorical_cols=("country",))
    data = TrainingData(manifest, metadata, SimpleNamespace(features=spec), {}, {}, {}, {})
    inputs = ModelInputs(metadata, present, vectors, vectors, vectors, vectors, provenance)
    return TrainingRows(inputs, target, data, ())


@pytest.fixture(autouse=True)
def trees(monkeypatch):
    stand_in = SimpleNamespace(LGBMRegressor=Trees, early_stopping=lambda rounds, verbose: "stop")
    monkeypatch.setitem(sys.modules, "lightgbm", stand_in)


@pytest.mark.parametrize("kind", list(SplitStrategy))
def test_no_video_is_dealt_twice_and_everything_goes_with_it(context, rows, kind):
    assert len({split.name for each in SplitStrategy for split in splits(each)}) == 5 + 3 + 3
    before = {name: rows.target[at] for at, name in enumerate(rows.data.rows["video_id"])}
    for split in splits(kind):
        dealt_context, found = dealt(context, rows, split, Horizon.D7)
        ids = found.data.rows["video_id"]
        assert ids.is_unique
        assert (len(ids) < N) == (kind is SplitStrategy.CHRONOLOGICAL and split.number > 0)
        assert dealt_context.params.split_strategy is kind
        parts = [found.manifest_of(part)["video_id"].tolist() for part in ("train", "val", "test")]
        assert [*chain(*parts)] == ids.tolist()
        assert all(part == sorted(part) for part in parts)
        assert found.target.tolist() == [before[name] for name in ids]
        np.testing.assert_array_equal(found.target, found.data.rows["target_log"].to_numpy(np.float32))
        known = np.log(found.inputs.metadata["subscribers"].to_numpy()) + found.inputs.fused[:, 0]
        np.testing.assert_allclose(known, found.target, rtol=1e-5)
        assert found.inputs.provenance["creator"].tolist() == found.data.rows["creator"].tolist()


@pytest.mark.parametrize("kind", [SplitStrategy.RANDOM, SplitStrategy.CREATOR])
def test_another_seed_deals_other_test_parts(context, rows, kind):
    tests = {
        frozenset(dealt(context, rows, split, Horizon.D7)[1].manifest_of("test")["video_id"]) for split in splits(kind)
    }
    assert len(tests) == len(splits(kind))


def test_no_creator_is_in_two_parts_of_a_split_by_creator(context, rows):
    for split in splits(SplitStrategy.CREATOR):
        manifest = dealt(context, rows, split, Horizon.D7)[1].data.rows
        assert manifest.groupby("creator")["split"].nunique().max() == 1


def test_chronological_windows_test_what_follows_each_other_without_overlap(context, rows):
    day_of = dict(zip(rows.data.rows["video_id"], rows.inputs.provenance["captured_at"], strict=True))
    later, tested = None, set()
    for split in splits(SplitStrategy.CHRONOLOGICAL):
        _, found = dealt(context, rows, split, Horizon.D7)
        days = {part: [day_of[name] for name in found.manifest_of(part)["video_id"]] for part in ("train", "test")}
        test = set(found.manifest_of("test")["video_id"])
        assert max(days["train"]) <= min(days["test"]) - pd.Timedelta(days=2)
        assert not test & tested
        assert later is None or max(days["test"]) <= later
        tested, later = tested | test, min(days["test"])
    newest = sorted(day_of, key=lambda name: (day_of[name], name))[-len(tested) :]
    assert tested == set(newest)  # and nothing is left out between two of them


@pytest.fixture
def predictions(context, rows):
    """Of ridge, on two splits at random."""
    return [
        judge(*dealt(context, rows, split, Horizon.D7), Horizon.D7, [Family.RIDGE], pd.DataFrame())
        for split in splits(SplitStrategy.RANDOM)[:2]
    ]


def test_every_model_predicts_the_rows_that_are_held_out(context, rows, predictions):
    for split, found in zip(splits(SplitStrategy.RANDOM), predictions, strict=False):
        _, own = dealt(context, rows, split, Horizon.D7)
        held_out = [*own.manifest_of("val")["video_id"], *own.manifest_of("test")["video_id"]]
        assert found["video_id"].tolist() == held_out
        assert set(found.columns) == {"video_id", "split", "creator", "target_log", REFERENCE, "ridge", *Baseline}
        assert found["ridge"].notna().all()
        assert (found[REFERENCE].notna() == (found["split"] == "test")).all()
        assert np.corrcoef(found["ridge"], found["target_log"])[0, 1] > 0.9
        mean = own.target_of("train").mean()
        np.testing.assert_allclose(found.loc[found["split"] == "val", Baseline.TRAIN_MEAN], mean, rtol=1e-6)


def test_what_is_known_is_not_fitted_again_and_of_other_rows_refused(context, rows, predictions, monkeypatch):
    monkeypatch.setattr("bench.pooled_quality.fit_and_predict", None)
    monkeypatch.setattr("bench.pooled_quality.lightgbm_reference", None)
    first, second = splits(SplitStrategy.RANDOM)[:2]
    own = dealt(context, rows, first, Horizon.D7)
    again = judge(*own, Horizon.D7, [Family.RIDGE], predictions[0])
    pd.testing.assert_frame_equal(again[predictions[0].columns], predictions[0])
    with pytest.raises(DataError, match="expected predictions of the videos of this split, got those of other videos"):
        judge(*dealt(context, rows, second, Horizon.D7), Horizon.D7, [Family.RIDGE], predictions[0])


def made_up(seed):
    """Predictions of two families and LightGBM on 300 rows; gbdt errs half as much as ridge, LightGBM as ridge."""
    rng = np.random.default_rng(seed)
    truth, split = rng.normal(8, 2, 300), np.repeat(["val", "test"], 150)
    frame = pd.DataFrame({"video_id": [f"v{number}" for number in range(300)], "split": split, "target_log": truth})
    frame["creator"] = [f"creator {number % 100}" for number in range(300)]
    for name, noise in (("ridge", 1.0), ("gbdt", 0.5), (REFERENCE, 1.0)):
        frame[name] = truth + rng.normal(0, noise, 300)
    frame.loc[split == "val", REFERENCE] = np.nan
    return frame


def test_the_table_pools_the_test_parts_of_all_splits():
    found, members = [made_up(seed) for seed in range(3)], [Family.RIDGE, Family.GBDT]
    console = Console(width=200, record=True, force_terminal=False)
    console.print(pooled_table(SplitStrategy.RANDOM, found, {ENSEMBLE: members}))
    text = console.export_text()
    assert "random: 3 splits, 450 test rows" in text
    lines = {line.split()[0]: re.findall(r"-?\d\.\d{3}", line) for line in text.splitlines() if re.search(r"\[", line)}
    assert list(lines)[-1] in {"ridge", REFERENCE}  # the best stands first
    assert set(lines) == {"ridge", "gbdt", REFERENCE, ENSEMBLE}
    tests = pd.concat(frame.assign(**{ENSEMBLE: blended(frame, members)})[frame["split"] == "test"] for frame in found)
    truth = tests["target_log"]
    error = {name: np.sqrt(np.mean((tests[name] - truth) ** 2)) for name in lines}
    for name, cells in lines.items():
        rmse, low, high, ratio, ratio_low, ratio_high, r2, *_ = map(float, cells)
        assert rmse == pytest.approx(error[name], abs=6e-4)
        assert low <= rmse <= high
        assert ratio == pytest.approx(error[name] / error[REFERENCE], abs=6e-4)
        assert ratio_low <= ratio <= ratio_high
        assert r2 == pytest.approx(1 - error[name] ** 2 / np.var(truth), abs=6e-4)
        assert len(cells) == 12 + (name != REFERENCE)  # it has not predicted val: it has no intervals
    assert 0.7 < float(lines["gbdt"][-1]) < 0.9


def test_weights_of_the_ensemble_come_from_the_val_part():
    frame = made_up(0)
    val = frame[frame["split"] == "val"]
    weights = blend_weights(val[["ridge", "gbdt"]].to_numpy(), val["target_log"].to_numpy())
    np.testing.assert_allclose(
        blended(frame, [Family.RIDGE, Family.GBDT]), frame[["ridge", "gbdt"]].to_numpy() @ weights
    )


def test_a_run_without_capture_times_cannot_be_dealt(context, rows):
    without = replace(rows, inputs=replace(rows.inputs, provenance=None))
    with pytest.raises(DataError, match="expected a run of feature set v3"):
        dealt(context, without, Split(SplitStrategy.RANDOM, 0), Horizon.D7)
