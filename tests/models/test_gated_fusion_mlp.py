"""The gated network: whether there is text is an input of its own, to the gate and to the head."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clipfarm_tasks.families import Family
from clipfarm_tasks.models.gated_fusion_mlp import GatedFusionMlp
from clipfarm_tasks.models.registry import create

TOWER_DIM, NUMERIC_DIM = 256, 3


def test_text_present_alone_changes_the_predictions(videos, options):
    model = create(Family.GATED_FUSION_MLP)
    model.fit(videos.rows, videos.target, videos.rows, videos.target, options())
    flipped = replace(videos.rows, text_present=1 - videos.rows.text_present)
    assert (model.predict(flipped) != model.predict(videos.rows)).all()


@pytest.mark.parametrize("deaf", ["gate_net", "head"])
def test_text_present_reaches_the_gate_and_the_head(deaf):
    """With the weights of one of them for it at zero, the other one still hears it; with both at zero nobody does."""
    torch.manual_seed(0)
    network = GatedFusionMlp(6, 5, 7, NUMERIC_DIM, [5, 3]).eval()
    rest = torch.randn(8, 6), torch.randn(8, 5), torch.randn(8, 7)
    metadata = torch.randn(8, NUMERIC_DIM), torch.ones(8, 2, dtype=torch.int64)

    def changed():
        with torch.no_grad():
            without, present = (network(*rest, torch.full((8,), value), *metadata) for value in (0.0, 1.0))
        return (without != present).numpy()

    # Where text_present is in their inputs: after the numerics, which in the head come after the mixed towers.
    columns = {"gate_net": NUMERIC_DIM, "head": TOWER_DIM + NUMERIC_DIM}
    with torch.no_grad():
        getattr(network, deaf)[0].weight[:, columns.pop(deaf)] = 0
        assert changed().all()
        for name, column in columns.items():
            getattr(network, name)[0].weight[:, column] = 0
    assert not np.any(changed())
