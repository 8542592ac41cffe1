"""The space of every family, and what becomes of values that are not in it."""

import dataclasses
from operator import attrgetter

import optuna
import pytest

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import PRESETS, Family
from clipfarm_tasks.tuning.space import recipe_with, suggested, values_of_code


@pytest.mark.parametrize("family", Family)
def test_the_values_of_the_code_are_in_the_space_and_make_its_recipe(family):
    values = values_of_code(family)
    assert values.keys() == PRESETS[family].space.keys()
    assert recipe_with(family, values, "here") == PRESETS[family].hyperparams


@pytest.mark.parametrize("family", Family)
def test_what_is_suggested_is_accepted_and_is_what_the_recipe_then_holds(family):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(20):
        values = suggested(study.ask(), family)
        recipe = recipe_with(family, values, "here")
        assert {name: attrgetter(name)(recipe) for name in values} == values
        seen.add(recipe)
    assert len(seen) > 10


def test_whole_numbers_stay_whole():
    recipe = recipe_with(Family.GBDT, {"max_depth": 4.0}, "here")
    assert type(recipe.max_depth) is int


def test_only_what_is_named_changes_also_in_a_nested_recipe():
    recipe, code = recipe_with(Family.GBDT, {"projector.dropout": 0.3}, "here"), PRESETS[Family.GBDT].hyperparams
    assert recipe.projector.dropout == 0.3
    assert dataclasses.replace(recipe, projector=code.projector) == code
    assert dataclasses.replace(recipe.projector, dropout=code.projector.dropout) == code.projector


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"max_depth": 11}, "max_depth = 11, which is not from 3 to 10"),
        ({"max_depth": 4.5}, "max_depth = 4.5, which is no whole number"),
        ({"learning_rate": float("nan")}, "learning_rate = nan, which is not from 0.01 to 0.2"),
        ({"learning_rate": float("inf")}, "learning_rate = inf"),
        ({"max_iter": 5}, "max_iter, which is none of learning_rate, max_depth"),
        ({"projector": 5}, "projector, which is none of"),
    ],
)
def test_values_outside_the_space_are_refused(values, problem):
    with pytest.raises(DataError, match=f"expected values that tuning may choose for gbdt, got {problem}.*, in here"):
        recipe_with(Family.GBDT, values, "here")


def test_every_problem_is_in_one_message():
    with pytest.raises(DataError, match="max_depth = 0.*; trees, which is none of"):
        recipe_with(Family.GBDT, {"max_depth": 0, "trees": 1}, "here")
