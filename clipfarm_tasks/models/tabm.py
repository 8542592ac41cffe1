"""tabm: an ensemble of multilayer perceptrons that share most weights, over vectors, numerics and categories.

Gorishniy et al., "TabM: Advancing tabular deep learning with parameter-efficient ensembling", ICLR 2025, in the form
that its authors call TabM-mini, from their package. NOTE: the vector is shortened by one layer that all members share;
members that each weight the whole vector would take as many times the arithmetic of concat_mlp as there are members.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import cast

import tabm
import torch
from rtdl_num_embeddings import PeriodicEmbeddings
from torch import Tensor, nn

from clipfarm_tasks.families import PRESETS, Family, TabmPreset
from clipfarm_tasks.models.layers import category_embeddings, embed, embedding_width
from clipfarm_tasks.models.neural_family import Design, NeuralFamily

NAME = Family.TABM
RECIPE = cast("TabmPreset", PRESETS[NAME].hyperparams)


class TabmNet(nn.Module):
    """The network of K members.

    Args:
        fused_dim: D.
        numeric_dim: F.
        cat_cardinalities: rows of each of the C embedding tables.
        recipe: sizes and dropout.

    Raises:
        ValueError: the hidden layers of the recipe differ in width.

    Shape:
        fused (B, D), numerics (B, F), categories (B, C) int64 to (B, K) log-space predictions of the members in
        training mode, each of which learns for itself, and to their mean (B,) in evaluation mode.
    """

    def __init__(
        self, fused_dim: int, numeric_dim: int, cat_cardinalities: Sequence[int], recipe: TabmPreset = RECIPE
    ) -> None:
        """Build with the recipe's sizes and the initialisation of the package."""
        super().__init__()
        if len({*recipe.hidden}) != 1:
            raise ValueError(f"expected hidden layers of one width, got {recipe.hidden}, in family {NAME}")
        self.cat_embeddings = category_embeddings(cat_cardinalities)
        self.num_embeddings = (
            PeriodicEmbeddings(numeric_dim, recipe.numeric_dim, n_frequencies=16, frequency_init_scale=0.05, lite=True)
            if numeric_dim
            else None
        )
        self.vector = nn.Sequential(nn.Linear(fused_dim, recipe.vector_dim), nn.GELU(), nn.Dropout(recipe.dropout))
        width = recipe.vector_dim + numeric_dim * recipe.numeric_dim
        width += sum(embedding_width(cardinality) for cardinality in cat_cardinalities)
        self.members = tabm.EnsembleView(k=recipe.members)
        self.backbone = tabm.MLPBackboneMiniEnsemble(
            d_in=width,
            n_blocks=len(recipe.hidden),
            d_block=recipe.hidden[0],
            dropout=recipe.dropout,
            k=recipe.members,
            affine_bias=False,
            affine_scaling_init="normal",
        )
        self.output = tabm.LinearEnsemble(recipe.hidden[0], 1, k=recipe.members)

    def forward(self, fused: Tensor, numerics: Tensor, categories: Tensor) -> Tensor:
        """Predict ``target_log``."""
        numbers = [self.num_embeddings(numerics).flatten(1)] if self.num_embeddings else []
        features = torch.cat([self.vector(fused), *numbers, *embed(self.cat_embeddings, categories)], dim=1)
        predictions: Tensor = self.output(self.backbone(self.members(features))).squeeze(-1)  # (B, K)
        return predictions if self.training else predictions.mean(dim=1)


def create(recipe: TabmPreset = RECIPE) -> NeuralFamily:
    """An unfitted model of the family."""
    return NeuralFamily(Design(NAME, recipe, TabmNet, ("fused",), sees_text_present=False, output=attrgetter("output")))
