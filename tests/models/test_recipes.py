"""Every value of a family's recipe reaches what learns from it; none is only repeated by the report."""

from dataclasses import fields, is_dataclass, replace

import joblib
import numpy as np
import pytest
import torch
from torch import nn

from clipfarm_tasks.families import PRESETS, Family
from clipfarm_tasks.models.concat_mlp import ConcatMlp
from clipfarm_tasks.models.gated_fusion_mlp import GatedFusionMlp
from clipfarm_tasks.models.projector import ProjectorNet
from clipfarm_tasks.models.registry import create

# The presets, but for sizes: a fit of these takes a moment.
SMALL = {
    Family.CONCAT_MLP: {"hidden": (8, 4), "batch_size": 16, "least_batch_size": 8},
    Family.GATED_FUSION_MLP: {
        "hidden": (8, 4),
        "batch_size": 16,
        "least_batch_size": 8,
        "tower_dim": 8,
        "gate_hidden": 4,
    },
    Family.RIDGE: {"alphas": (0.1, 1.0), "max_share": 10.0, "categories.min_frequency": 5},
    Family.GBDT: {"max_iter": 4, "folds": 2, "projector.hidden": (8,), "categories.min_frequency": 5}
    | {"projector.batch_size": 16, "projector.least_batch_size": 8, "max_depth": 4, "min_samples_leaf": 5},
}
# What the fitted trees carry under the recipe's own name.
OF_TREES = {
    "learning_rate": 0.21,
    "max_depth": 3,
    "max_iter": 3,
    "min_samples_leaf": 7,
    "l2_regularization": 0.5,
    "max_features": 0.8,
}
# Where nothing that is saved carries the value, another value must make another model.
OF_TRAINING = {"dropout": 0.6, "learning_rate": 3e-3, "weight_decay": 0.9, "batch_size": 5, "least_batch_size": 16}
OF_CATEGORIES = {"min_frequency": 11, "max_categories": 3}


def changed(recipe, name, value):
    outer, _, inner = name.partition(".")
    return replace(recipe, **{outer: changed(getattr(recipe, outer), inner, value) if inner else value})


def recipe_of(family, **changes):
    recipe = PRESETS[family].hyperparams
    for name, value in {**SMALL[family], **changes}.items():
        recipe = changed(recipe, name, value)
    return recipe


@pytest.fixture(scope="module")
def few(videos):
    return videos.take(range(60)), videos.take(range(60, 80))


@pytest.fixture(scope="module")
def fitted(few, options, tmp_path_factory):
    """The predictions of a fit by a recipe, its report and the folder of its files; the same recipe is fitted once."""
    (train, val), known = few, {}

    def fit(family, **changes):
        recipe = recipe_of(family, **changes)
        if recipe not in known:
            folder, model = tmp_path_factory.mktemp(family), create(family, recipe)
            report = model.fit(train.rows, train.target, val.rows, val.target, options(max_epochs=1))
            model.save(folder)
            known[recipe] = model.predict(val.rows), report.hyperparams, folder
        return known[recipe]

    return fit


def names(recipe, prefix=""):
    for field in fields(recipe):
        value = getattr(recipe, field.name)
        yield from names(value, f"{prefix}{field.name}.") if is_dataclass(value) else [prefix + field.name]


def test_no_value_of_a_recipe_goes_without_a_test_below():
    training, sizes = list(OF_TRAINING), ["hidden"]
    categories = [f"categories.{name}" for name in OF_CATEGORIES]
    tested = {
        Family.CONCAT_MLP: [*training, *sizes],
        Family.GATED_FUSION_MLP: [*training, *sizes, "tower_dim", "gate_hidden"],
        Family.RIDGE: ["alphas", "alpha_step", "min_share", "max_share", *categories],
        Family.GBDT: [*OF_TREES, "folds", *(f"projector.{name}" for name in [*training, *sizes]), *categories],
    }
    for family, expected in tested.items():
        assert sorted(names(PRESETS[family].hyperparams)) == sorted(expected)


@pytest.mark.parametrize(("name", "value"), OF_TRAINING.items())
@pytest.mark.parametrize("family", [Family.CONCAT_MLP, Family.GATED_FUSION_MLP], ids=str)
def test_a_network_trained_by_another_recipe_is_another(fitted, family, name, value):
    before, _, _ = fitted(family)
    after, report, _ = fitted(family, **{name: value})
    assert not np.array_equal(before, after)
    assert report[name] == value or name == "least_batch_size"


@pytest.mark.parametrize(("name", "value"), OF_TRAINING.items())
def test_a_projector_trained_by_another_recipe_is_another(fitted, name, value):
    def state(**changes):
        content = torch.load(fitted(Family.GBDT, **changes)[2] / "gbdt_projector.pt", weights_only=True)
        return content["state_dict"]["projector.0.weight"]

    assert not torch.equal(state(), state(**{f"projector.{name}": value}))


def test_networks_have_the_sizes_of_the_recipe(fitted):
    def shapes(family, file, key, **changes):
        content = torch.load(fitted(family, **changes)[2] / file, weights_only=True)[key]
        return {name: tuple(value.shape) for name, value in content.items()}

    concat = shapes(Family.CONCAT_MLP, "concat_mlp.pt", "model_state_dict", hidden=(7, 5, 3))
    assert [concat[f"net.{i}.weight"][0] for i in (0, 3, 6, 9)] == [7, 5, 3, 1]
    gated = shapes(
        Family.GATED_FUSION_MLP, "gated_fusion_mlp.pt", "model_state_dict", hidden=(7,), tower_dim=6, gate_hidden=5
    )
    assert [gated[f"{name}_tower.0.weight"][0] for name in ("video", "audio", "text")] == [6, 6, 6]
    assert [gated[f"{name}.weight"][0] for name in ("gate_net.0", "gate_net.3", "head.0", "head.3")] == [5, 3, 7, 1]
    projector = shapes(Family.GBDT, "gbdt_projector.pt", "state_dict", **{"projector.hidden": (9, 4)})
    assert [projector[f"projector.{i}.weight"][0] for i in (0, 3, 6)] == [9, 4, 8]


@pytest.mark.parametrize(
    "build",
    [
        lambda recipe: ConcatMlp(5, 2, [3], recipe),
        lambda recipe: GatedFusionMlp(5, 4, 3, 2, [3], recipe),
        lambda recipe: ProjectorNet(5, 4, recipe),
    ],
    ids=["concat", "gated", "projector"],
)
def test_every_hidden_layer_drops_as_much_as_the_recipe_says(build):
    net = build(recipe_of(Family.GATED_FUSION_MLP, dropout=0.37))
    dropped = [layer.p for layer in net.modules() if isinstance(layer, nn.Dropout)]
    hidden = [layer for layer in net.modules() if isinstance(layer, nn.GELU)]
    towers = [layer for layer in net.modules() if isinstance(layer, nn.LayerNorm)]
    assert dropped == [0.37] * (len(hidden) - len(towers)) != []


def test_trees_carry_the_values_of_the_recipe(fitted):
    _, _, folder = fitted(Family.GBDT, **OF_TREES)
    model = joblib.load(folder / "gbdt.joblib").named_steps["model"]
    assert {name: getattr(model, name) for name in OF_TREES} == OF_TREES


@pytest.mark.parametrize("folds", [2, 3])
def test_a_projector_is_trained_for_every_fold_of_the_recipe(fitted, folds):
    _, report, _ = fitted(Family.GBDT, folds=folds)
    assert len(report["projector_best_epochs"]) == folds


@pytest.mark.parametrize("family", [Family.RIDGE, Family.GBDT], ids=str)
def test_categories_are_pooled_by_the_recipe(fitted, family):
    _, _, folder = fitted(family, **{f"categories.{name}": value for name, value in OF_CATEGORIES.items()})
    _, one_hot, _ = joblib.load(folder / f"{family}.joblib").named_steps["pre"].transformers_[1]
    one_hot = one_hot if family is Family.GBDT else one_hot[-1]
    assert {name: getattr(one_hot, name) for name in OF_CATEGORIES} == OF_CATEGORIES


def test_the_grid_of_ridge_is_that_of_the_recipe(fitted):
    """The target is next to linear, so that the smallest penalty is the best, and the grid goes on below it."""
    _, report, folder = fitted(Family.RIDGE, alphas=(1e3, 1e4), alpha_step=10.0, min_share=1e-3)
    pipeline = joblib.load(folder / "ridge.joblib")
    assert report["alphas"][-2:] == list(pipeline.named_steps["model"].alphas)[-2:] == [1e3, 1e4]
    below = report["alphas"][:-2]
    np.testing.assert_allclose(np.diff(np.log10(below)), 1.0)
    _, shorter, _ = fitted(Family.RIDGE, alphas=(1e3, 1e4), alpha_step=10.0, min_share=1e-2)
    assert shorter["alphas"] == report["alphas"][1:]


def test_the_grid_of_ridge_ends_where_the_recipe_says(few, options):
    """Labels that nothing explains ask for the greatest penalty."""
    train, val = few
    noise = np.random.default_rng(0).normal(size=60).astype(np.float32)
    grids = []
    for share in (1e2, 1e4):
        model = create(Family.RIDGE, recipe_of(Family.RIDGE, alphas=(1e-3, 1e-2), alpha_step=10.0, max_share=share))
        report = model.fit(train.rows, noise, val.rows, val.target, options())
        grids.append(report.hyperparams["alphas"])
    assert grids[1][: len(grids[0])] == grids[0]
    assert len(grids[1]) == len(grids[0]) + 2
