from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from clipfarm_tasks.models.layers import category_embeddings, embed, embedding_width, linear_over, mlp, start_at, tower


@pytest.mark.parametrize(("cardinality", "width"), [(1, 2), (4, 2), (9, 3), (81, 9), (1024, 32), (10_000, 32)])
def test_embedding_width_is_the_rounded_root_between_2_and_32(cardinality, width):
    assert embedding_width(cardinality) == width


def test_mlp_ends_in_a_plain_linear_layer():
    kinds = [type(layer) for layer in mlp((5, 4, 3, 1), dropout=0.2)]
    assert kinds == [nn.Linear, nn.GELU, nn.Dropout, nn.Linear, nn.GELU, nn.Dropout, nn.Linear]


@pytest.mark.parametrize("widths", [(5, 2), (5, 4, 1), (6, 5, 4, 3, 2)])
def test_mlp_leads_from_the_first_width_over_all_others_to_the_last(widths):
    linear = [layer for layer in mlp(widths, dropout=0.0) if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == list(pairwise(widths))
    assert mlp(widths, dropout=0.0)(torch.zeros(3, widths[0])).shape == (3, widths[-1])


def test_a_tower_is_normalised():
    layers = tower(5, 8)
    assert [type(layer) for layer in layers] == [nn.Linear, nn.GELU, nn.LayerNorm]
    output = layers(torch.randn(4, 5))
    assert output.shape == (4, 8)
    torch.testing.assert_close(output.mean(dim=1), torch.zeros(4), atol=1e-6, rtol=0)


def test_embeddings_look_every_column_up_in_its_own_table():
    tables = category_embeddings([3, 5])
    first, second = embed(tables, torch.tensor([[2, 4], [1, 0]]))
    torch.testing.assert_close(first, tables[0].weight[[2, 1]])
    torch.testing.assert_close(second, tables[1].weight[[4, 0]])


def test_an_unseen_category_starts_as_no_information():
    assert all(bool((table.weight[0] == 0).all()) for table in category_embeddings([3, 5]))
    assert not any(bool((table.weight[1:] == 0).any()) for table in category_embeddings([3, 5]))


def test_start_at_sets_the_last_bias_and_only_that():
    network = mlp((3, 2, 1), dropout=0.0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    start_at(network, 7.5)
    after = network.state_dict()
    assert after["3.bias"].item() == 7.5
    assert all(torch.equal(after[name], before[name]) for name in before if name != "3.bias")
    with pytest.raises(TypeError, match=r"expected an output layer with a bias, got GELU"):
        start_at(nn.GELU(), 1.0)


def test_linear_over_is_the_layer_on_the_concatenation():
    torch.manual_seed(0)
    layer, known, learnt = nn.Linear(9, 4), torch.randn(6, 4), [torch.randn(6, 3), torch.randn(6, 2)]
    found = []
    for apply in (lambda parts: layer(torch.cat(parts, dim=1)), lambda parts: linear_over(layer, parts)):
        asked = [part.clone().requires_grad_() for part in learnt]
        output = apply([asked[0], known, asked[1]])
        found.append([output, *torch.autograd.grad(output.square().sum(), [*layer.parameters(), *asked])])
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected)


def test_linear_over_computes_no_gradient_of_data():
    layer, known, learnt = nn.Linear(905, 4), torch.randn(6, 900), torch.randn(6, 5, requires_grad=True)
    loss = linear_over(layer, [known, learnt]).sum()
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    assert learnt.grad is not None
    # Two for each multiplication: the gradient of the weights, then that of the learnt columns alone.
    assert counter.get_total_flops() == 2 * 6 * 4 * 905 + 2 * 6 * 4 * 5
