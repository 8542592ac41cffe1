"""tabm: members that share most weights, learn each for itself, and predict together."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from clipfarm_tasks.families import PRESETS, Family
from clipfarm_tasks.models.registry import load
from clipfarm_tasks.models.tabm import TabmNet, create

MEMBERS = PRESETS[Family.TABM].hyperparams.members


@pytest.fixture
def network():
    torch.manual_seed(0)
    return TabmNet(fused_dim=5, numeric_dim=3, cat_cardinalities=[4, 3])


def inputs(n, seed=0):
    made = torch.Generator().manual_seed(seed)
    return torch.randn(n, 5, generator=made), torch.randn(n, 3, generator=made), torch.zeros(n, 2, dtype=torch.int64)


def without_dropout(network):
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return network


def test_it_predicts_the_mean_of_its_members(network):
    members = without_dropout(network).train()(*inputs(7))
    assert members.shape == (7, MEMBERS)
    assert (members.std(dim=1) > 0).all()
    torch.testing.assert_close(network.eval()(*inputs(7)), members.mean(dim=1))


def test_a_member_learns_from_its_own_error_alone(network):
    """The gradient of a weight that only one member has is that of the loss of this member."""
    target = torch.randn(7, generator=torch.Generator().manual_seed(1))
    members = without_dropout(network).train()(*inputs(7))
    loss = functional.mse_loss(members, target[:, None].expand_as(members))
    (together,) = torch.autograd.grad(loss, network.output.bias, retain_graph=True)
    for member in range(MEMBERS):
        own = functional.mse_loss(members[:, member], target)
        (alone,) = torch.autograd.grad(own, network.output.bias, retain_graph=True)
        torch.testing.assert_close(alone[member] / MEMBERS, together[member])
        assert not alone[torch.arange(MEMBERS) != member].any()
    # Of their mean it would be one and the same for all.
    assert len(together.unique()) > 1


@pytest.mark.parametrize(("numerics", "categories"), [(0, []), (3, []), (0, [4])])
def test_without_numerics_or_categories(numerics, categories):
    network = TabmNet(fused_dim=5, numeric_dim=numerics, cat_cardinalities=categories).eval()
    rows = torch.randn(4, 5), torch.zeros(4, numerics), torch.zeros(4, len(categories), dtype=torch.int64)
    assert network(*rows).shape == (4,)


def test_a_loaded_model_has_the_members_of_the_fitted_one(videos, options, tmp_path):
    model = create()
    model.fit(videos.rows, videos.target, videos.rows, videos.target, options())
    model.save(tmp_path)
    np.testing.assert_array_equal(load(Family.TABM, tmp_path).predict(videos.rows), model.predict(videos.rows))
    saved = torch.load(tmp_path / "tabm.pt", weights_only=True)["model_state_dict"]
    assert saved["output.bias"].shape == (MEMBERS, 1)
    assert len(saved["output.bias"].unique()) > 1
