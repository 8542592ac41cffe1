"""Made-up inputs of one family at one size. What an epoch costs does not depend on the values."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from clipfarm_tasks.families import Family, NeuralPreset
from clipfarm_tasks.models import concat_mlp, gated_fusion_mlp, projector
from clipfarm_tasks.models.rows import Labelled

_NUMERICS = 40
_CARDINALITIES = (60, 30, 30, 200)
_PROJECTOR_DIM = 128
_TRAIN, _VAL = 0.70, 0.15

NAMES = (str(Family.CONCAT_MLP), str(Family.GATED_FUSION_MLP), projector.CURVE)


@dataclass(frozen=True)
class EpochInputs:
    """One neural part of the pipeline and rows for it.

    Attributes:
        recipe: the family's preset.
        config: keyword arguments of the network.
        network: the network's class.
        train: rows that are learnt from.
        val: rows that are only predicted.
    """

    recipe: NeuralPreset
    config: dict[str, object]
    network: type[nn.Module]
    train: Labelled
    val: Labelled

    def build(self) -> nn.Module:
        """A network that has learnt nothing."""
        return self.network(**self.config)


def epoch_inputs(name: str, videos: int, width: int) -> EpochInputs:
    """Inputs of ``concat_mlp``, ``gated_fusion_mlp`` or ``gbdt_projector`` (strategy concat) for N videos."""
    rng = np.random.default_rng(0)
    fused_dim = 3 * width + 1
    shared = {"numeric_dim": _NUMERICS, "cat_cardinalities": list(_CARDINALITIES)}
    if name == Family.CONCAT_MLP:
        config = {"fused_dim": fused_dim, **shared}
        return _inputs(rng, videos, concat_mlp.RECIPE, config, concat_mlp.ConcatMlp, (fused_dim,), gated=False)
    if name == Family.GATED_FUSION_MLP:
        config = {**{f"{modality}_dim": width for modality in gated_fusion_mlp.MODALITIES}, **shared}
        network, widths = gated_fusion_mlp.GatedFusionMlp, (width,) * len(gated_fusion_mlp.MODALITIES)
        return _inputs(rng, videos, gated_fusion_mlp.RECIPE, config, network, widths, gated=True)
    config = {"input_dim": fused_dim, "projector_dim": _PROJECTOR_DIM}
    return _inputs(rng, videos, projector.RECIPE, config, projector.ProjectorNet, (fused_dim,), metadata=False)


def _inputs(
    rng: np.random.Generator,
    videos: int,
    recipe: NeuralPreset,
    config: dict[str, object],
    network: type[nn.Module],
    widths: tuple[int, ...],
    *,
    gated: bool = False,
    metadata: bool = True,
) -> EpochInputs:
    rows = [_rows(rng, round(part * videos), widths, gated=gated, metadata=metadata) for part in (_TRAIN, _VAL)]
    return EpochInputs(recipe, config, network, *rows)


def _rows(rng: np.random.Generator, rows: int, widths: tuple[int, ...], *, gated: bool, metadata: bool) -> Labelled:
    arrays: list[Any] = [rng.standard_normal((rows, width), dtype=np.float32) for width in widths]
    if gated:
        arrays.append(np.ones(rows, np.float32))
    if metadata:
        arrays.append(rng.standard_normal((rows, _NUMERICS), dtype=np.float32))
        arrays.append(rng.integers(0, _CARDINALITIES, (rows, len(_CARDINALITIES))))
    return Labelled(tuple(arrays), rng.standard_normal(rows, dtype=np.float32))
