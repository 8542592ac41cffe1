"""The baseline of training does the same arithmetic as the pipeline's loop, only one row at a time."""

import numpy as np
import pytest
import torch
from torch import nn

from bench.epoch_inputs import NAMES, epoch_inputs
from bench.per_row import RowDataset, train_per_row
from clipfarm_tasks.families import NeuralPreset
from clipfarm_tasks.models.rows import Labelled, rows_on
from clipfarm_tasks.models.training_loop import run_epochs

# One batch holds all rows: the order in which they are drawn then makes no difference.
RECIPE = NeuralPreset(hidden=(), dropout=0.0, learning_rate=0.05, weight_decay=0.01, batch_size=64, least_batch_size=64)


class Slope(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[0.1, -0.2, 0.3]]))
            self.linear.bias.zero_()

    def forward(self, x):
        return self.linear(x).squeeze(-1)


def labelled(rows, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 3), dtype=np.float32)
    return Labelled((x,), (x @ np.array([1.0, 2.0, -1.0], np.float32)))


@pytest.mark.parametrize("fused", [False, True])
def test_both_loops_learn_the_same_weights(monkeypatch, fused):
    # The pipeline leaves an average over its steps; of the last step alone it is what the baseline leaves.
    monkeypatch.setattr("clipfarm_tasks.models.training_loop._DECAY", 0.0)
    parts = labelled(40, 0), labelled(12, 1)
    ours, theirs = Slope(), Slope()
    trained = run_epochs(ours, *rows_on(torch.device("cpu"), parts), RECIPE, max_epochs=5, patience=5, seed=0)
    val_loss = train_per_row(theirs, *parts, RECIPE, epochs=5, fused=fused)
    assert trained.best_epoch == 5
    assert val_loss == pytest.approx(trained.curve.val_loss[-1], rel=1e-4)
    for name, weight in ours.state_dict().items():
        torch.testing.assert_close(theirs.state_dict()[name], weight, rtol=1e-4, atol=1e-6)


def test_the_baseline_has_the_default_optimizer_unless_asked_for_the_fused_one(monkeypatch):
    built = []

    class Seen(torch.optim.AdamW):
        def __init__(self, parameters, **options):
            super().__init__(parameters, **options)
            built.append(self.defaults)

    default = torch.optim.AdamW(Slope().parameters()).defaults
    monkeypatch.setattr("torch.optim.AdamW", Seen)
    for fused in (False, True):
        train_per_row(Slope(), labelled(8, 0), labelled(4, 1), RECIPE, epochs=1, fused=fused)
    assert [options["fused"] for options in built] == [default["fused"], True]
    assert default["fused"] is not True


def test_a_row_is_a_tensor_of_each_array_and_the_target():
    rows = Labelled((np.eye(3, dtype=np.float32), np.array([[4], [5], [6]])), np.array([7, 8, 9], np.float32))
    data = RowDataset(rows)
    assert len(data) == 3
    vector, category, target = data[1]
    assert (vector.tolist(), category.tolist(), target.item()) == ([0, 1, 0], [5], 8.0)


@pytest.mark.parametrize("name", NAMES)
def test_made_up_inputs_fit_their_network(name):
    inputs = epoch_inputs(name, videos=100, width=4)
    assert (len(inputs.train.target), len(inputs.val.target)) == (70, 15)
    predicted = inputs.build()(*(torch.from_numpy(array) for array in inputs.val.arrays))
    assert predicted.shape == (15,)
