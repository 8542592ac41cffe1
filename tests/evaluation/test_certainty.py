"""What the leaderboard says about how sure it is."""

import json
from dataclasses import replace

import numpy as np
import pytest

from clipfarm_tasks.config import RankMetric
from clipfarm_tasks.evaluation.bootstrap import Difference, Interval
from clipfarm_tasks.evaluation.certainty import Certainty, PartRows, Standing, _standing, certainties

METRIC = RankMetric.RMSE_LOG


def part(seed, noise, rows=400):
    """Predictions of models that miss by so much, on rows of ``rows / 2`` creators."""
    rng = np.random.default_rng(seed)
    target = rng.normal(8, 2, rows)
    creators = np.array([f"creator{number % (rows // 2)}" for number in range(rows)], dtype=object)
    predicted = {name: target + rng.normal(0, spread, rows) for name, spread in noise.items()}
    return PartRows(target, creators, predicted | {"mean": np.full(rows, 8.0)})


def judge(noise, metric=METRIC, **changes):
    parts = {"val": part(1, noise), "test": part(2, noise)} | changes
    return certainties(parts, list(noise), ["mean"], metric, seed=0)


def test_the_best_is_chosen_by_val_and_what_is_clearly_worse_is_no_tie():
    found = judge({"best": 1.0, "worse": 1.5, "like": 1.01})
    assert {name: judged.standing for name, judged in found.items()} == {
        "best": Standing.BEST,
        "worse": Standing.WORSE,
        "like": Standing.TIE,
        "mean": None,
    }
    assert found["best"].difference is None
    assert found["worse"].difference.interval.low > 0
    assert found["worse"].p < 0.01
    like = found["like"]
    assert like.difference.interval.low < 0 < like.difference.interval.high
    assert like.p > 0.05


def test_the_smallest_error_is_the_best_whatever_its_name():
    found = judge({"a": 1.5, "z": 1.0})
    assert (found["a"].standing, found["z"].standing) == (Standing.WORSE, Standing.BEST)


def test_the_seed_decides_the_draws():
    noise = {"one": 1.0, "two": 1.02}
    assert judge(noise) == judge(noise)
    parts = {"val": part(1, noise), "test": part(2, noise)}
    assert certainties(parts, list(noise), ["mean"], METRIC, seed=1) != judge(noise)


def test_what_the_test_part_says_does_not_choose_the_best():
    other_way = part(2, {"one": 1.5, "two": 1.0})
    found = judge({"one": 1.0, "two": 1.5}, test=other_way)
    assert (found["one"].difference, found["one"].standing) == (None, Standing.BEST)
    assert found["two"].difference.interval.high < 0
    assert found["two"].standing is Standing.BETTER  # on the test part, and surely so


def test_r2_is_ranked_downward():
    found = judge({"best": 1.0, "worse": 1.5}, RankMetric.R2_LOG)
    assert found["best"].difference is None
    assert found["worse"].difference.interval.high < 0
    assert found["worse"].standing is Standing.WORSE


def test_few_creators_make_nothing_sure():
    def few(seed):
        rows = part(seed, {"one": 1.0, "two": 3.0})
        return replace(rows, creators=np.array([f"c{number % 19}" for number in range(400)], dtype=object))

    found = judge({"one": 1.0, "two": 3.0}, val=few(1), test=few(2))
    assert found["one"].standing is Standing.BEST
    assert (found["two"].standing, found["two"].p, found["two"].difference) == (None, None, None)
    assert set(found["two"].intervals["test"].values()) == {None}
    assert found["two"].metrics["test"]["rmse_log"] > 2.5


def test_without_a_rank_metric_nothing_is_best():
    none = PartRows(np.zeros(0), np.zeros(0, dtype=object), dict.fromkeys(("one", "two", "mean"), np.zeros(0)))
    found = judge({"one": 1.0, "two": 1.5}, val=none)
    assert {judged.standing for judged in found.values()} == {None}


def test_baselines_without_a_job_are_nothing_to_compare():
    none = PartRows(np.zeros(0), np.zeros(0, dtype=object), {})
    assert certainties({"val": none, "test": none}, [], ["mean"], METRIC, 0) == {}


def test_skill_is_what_is_saved_of_the_best_naive_error():
    found = judge({"model": 1.0})
    skill, within = found["model"].skill
    own, naive = (found[name].metrics["test"]["rmse_log"] for name in ("model", "mean"))
    assert skill == pytest.approx(1 - own / naive)
    assert within.low < skill < within.high
    assert found["mean"].skill[0] == 0


def test_labels_that_nothing_explains_leave_a_skill_of_zero_within_its_interval():
    rng = np.random.default_rng(5)
    target = rng.normal(8, 2, 600)
    names = np.array([str(number) for number in range(600)], dtype=object)
    rows = PartRows(target, names, {"model": 8 + rng.normal(0, 0.02, 600), "mean": np.full(600, 8.0)})
    skill, within = certainties({"val": rows, "test": rows}, ["model"], ["mean"], METRIC, 0)["model"].skill
    assert within.low < 0 < within.high
    assert abs(skill) < 0.01


def test_a_naive_guess_that_is_always_right_is_no_measure():
    rows = part(1, {"model": 1.0})
    exact = replace(rows, predicted_log=rows.predicted_log | {"mean": rows.target_log})
    assert certainties({"val": exact, "test": exact}, ["model"], ["mean"], METRIC, 0)["model"].skill is None


def test_what_is_undefined_is_none():
    assert judge({"model": 1.0})["mean"].metrics["test"]["spearman"] is None  # the same prediction for all


def test_a_part_without_rows_has_no_numbers():
    none = PartRows(np.zeros(0), np.zeros(0, dtype=object), {"model": np.zeros(0), "mean": np.zeros(0)})
    found = judge({"model": 1.0}, test=none)["model"]
    assert set(found.metrics["test"].values()) == set(found.intervals["test"].values()) == {None}
    assert found.skill is None
    assert found.intervals["val"]["rmse_log"] is not None
    empty = certainties({"val": none, "test": none}, ["model"], ["mean"], METRIC, 0)["model"]
    assert empty.document()["skill"] is None


def test_without_baselines_there_is_no_skill():
    parts = {name: part(3, {"model": 1.0}) for name in ("val", "test")}
    assert certainties(parts, ["model"], [], METRIC, 0)["model"].skill is None


def test_the_document_is_json():
    document = judge({"one": 1.0, "two": 1.2})["two"].document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    low, high = document["intervals"]["test"]["rmse_log"]
    assert low < high
    assert document["difference_to_best"][0] < document["difference_to_best"][1]


def test_the_document_names_every_number():
    full = Certainty(
        metrics={"val": {"rmse_log": 1.0, "spearman": 0.4}, "test": {"rmse_log": 2.0, "spearman": 0.5}},
        intervals={"val": {"rmse_log": None}, "test": {"rmse_log": Interval(1.0, 3.0)}},
        skill=(0.25, Interval(0.2, 0.3)),
        difference=Difference(Interval(-0.1, 0.4), 0.2),
        p=0.6,
        standing=Standing.TIE,
    )
    told = {
        "spearman": {"val": 0.4, "test": 0.5},
        "intervals": {"val": {"rmse_log": None}, "test": {"rmse_log": [1.0, 3.0]}},
        "skill": 0.25,
        "skill_interval": [0.2, 0.3],
        "difference_to_best": [-0.1, 0.4],
        "difference_p": 0.6,
        "against_best": "tie",
    }
    assert full.document() == told
    nothing = replace(full, skill=None, difference=None, p=None, standing=None).document()
    assert nothing == told | dict.fromkeys(list(told)[2:])


def test_of_several_naive_guesses_the_better_one_on_val_is_the_measure():
    def rows(seed, dull, duller):
        one = part(seed, {"model": 1.0})
        return replace(
            one, predicted_log=one.predicted_log | {"mean": np.full(400, dull), "other": np.full(400, duller)}
        )

    parts = {"val": rows(1, 9.0, 8.0), "test": rows(2, 8.0, 9.0)}
    skill, _ = certainties(parts, ["model"], ["mean", "other"], METRIC, 0)["model"].skill
    assert skill == certainties(parts, ["model"], ["other"], METRIC, 0)["model"].skill[0]
    assert skill != certainties(parts, ["model"], ["mean"], METRIC, 0)["model"].skill[0]


def test_a_difference_is_sure_below_one_in_twenty():
    larger = Difference(Interval(0.1, 0.4), 0.05)
    assert _standing(0.05, larger, METRIC) is Standing.TIE
    assert _standing(0.0499, larger, METRIC) is Standing.WORSE
    assert _standing(None, larger, METRIC) is None
