import math

import numpy as np
import pytest
import torch
from torch import nn

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import NeuralPreset
from clipfarm_tasks.models.network import recipe_for
from clipfarm_tasks.models.rows import HostRows, Labelled
from clipfarm_tasks.models.seeds import seed_torch
from clipfarm_tasks.models.training_loop import average_weights, run_epochs, run_in_blocks


class Line(nn.Module):
    """(B, 2) to (B,): a linear map without bias, all weights at ``start``."""

    def __init__(self, start=0.0):
        super().__init__()
        self.linear = nn.Linear(2, 1, bias=False)
        nn.init.constant_(self.linear.weight, start)
        self.batch_sizes = []

    def forward(self, features):
        self.batch_sizes.append(len(features))
        return self.linear(features).squeeze(-1)


def recipe(**changes):
    values = {
        "hidden": (),
        "dropout": 0.0,
        "learning_rate": 0.05,
        "weight_decay": 0.0,
        "batch_size": 8,
        "least_batch_size": 1,
    }
    return NeuralPreset(**(values | changes))


def part(n, slope, seed=0):
    features = np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)
    return HostRows(Labelled((features,), slope * features.sum(axis=1)), torch.device("cpu"))


def whole(data):
    """All rows at once: (N, 2) features and (N,) targets."""
    numbers = torch.arange(len(data))
    (batch,) = data.shuffled(numbers, len(data))
    return batch.inputs[0], batch.target


def rmse(model, judged):
    features, target = (tensor.numpy() for tensor in whole(judged))
    return math.sqrt(np.mean((run_in_blocks(model, (features,)) - target) ** 2))


def test_restores_the_best_epoch_and_not_the_last():
    # Training pulls the weights from 0 to 2; validation likes 0.5, passes it on the way and gets worse from there.
    model, val = Line(), part(50, slope=0.5, seed=1)
    trained = run_epochs(model, part(64, slope=2.0), val, recipe(), max_epochs=12, patience=12, seed=3)
    curve = trained.curve.val_rmse_log
    assert trained.best_epoch == 1 + int(np.argmin(curve)) < len(curve)
    assert curve[-1] > 2 * min(curve)
    assert rmse(model, val) == pytest.approx(min(curve), rel=1e-6)


def test_stops_after_patience_epochs_without_a_better_one():
    trained = run_epochs(Line(), part(64, slope=2.0), part(50, slope=0.5), recipe(), max_epochs=100, patience=4, seed=3)
    assert len(trained.curve.val_loss) == trained.best_epoch + 4


def test_trains_no_longer_than_max_epochs():
    trained = run_epochs(Line(), part(64, slope=2.0), part(50, slope=2.0), recipe(), max_epochs=5, patience=1, seed=3)
    assert len(trained.curve.train_loss) == len(trained.curve.val_loss) == 5


def test_who_looks_on_is_told_each_epoch_and_may_end_the_fit():
    told = []

    def look_on(epoch, val_rmse):
        told.append((epoch, val_rmse))
        if epoch == 3 and is_bored:
            raise StopIteration

    parts = part(64, slope=2.0), part(50, slope=2.0)
    for is_bored in (False, True):
        told.clear()
        model = Line()
        try:
            trained = run_epochs(model, *parts, recipe(), max_epochs=5, patience=5, seed=3, on_epoch=look_on)
        except StopIteration:
            assert is_bored
            assert told == list(enumerate(trained.curve.val_rmse_log, start=1))[:3]
        else:
            assert not is_bored
            assert told == list(enumerate(trained.curve.val_rmse_log, start=1))


def test_learns_the_line():
    model, val = Line(), part(50, slope=2.0, seed=1)
    run_epochs(model, part(256, slope=2.0), val, recipe(), max_epochs=40, patience=6, seed=3)
    np.testing.assert_allclose(model.linear.weight.detach().numpy(), [[2.0, 2.0]], atol=0.05)


def test_every_row_is_seen_once_per_epoch_and_a_last_batch_of_one_is_fine():
    model = Line()
    run_epochs(model, part(17, slope=1.0), part(3, slope=1.0), recipe(), max_epochs=2, patience=2, seed=3)
    assert model.batch_sizes == [8, 8, 1, 8, 8, 1]


def test_train_loss_is_the_mean_over_rows_not_over_batches():
    # A learning rate of 0 leaves the model as it was, so the loss has a closed form.
    data = part(17, slope=1.0)
    trained = run_epochs(Line(), data, data, recipe(learning_rate=0.0), max_epochs=1, patience=1, seed=3)
    assert trained.curve.train_loss[0] == pytest.approx(float((whole(data)[1] ** 2).mean()), rel=1e-6)
    assert trained.curve.val_loss[0] == pytest.approx(float((whole(data)[1] ** 2).mean()), rel=1e-6)


def test_curve_is_in_log_space_units():
    trained = run_epochs(Line(), part(64, slope=2.0), part(50, slope=2.0), recipe(), max_epochs=3, patience=3, seed=3)
    np.testing.assert_allclose(trained.curve.val_rmse_log, np.sqrt(trained.curve.val_loss))


def test_the_seed_decides_the_order_of_the_rows():
    def weights(seed):
        seed_torch(0)
        model = Line()
        run_epochs(model, part(64, slope=2.0), part(50, slope=2.0), recipe(), max_epochs=2, patience=2, seed=seed)
        return model.linear.weight.detach().numpy()

    np.testing.assert_array_equal(weights(1), weights(1))
    assert not np.array_equal(weights(1), weights(2))


def test_weights_that_are_left_are_the_average_over_the_steps():
    """The same steps without the loop, averaged by the formula."""
    rows = part(24, slope=2.0)
    seed_torch(0)
    model = Line()
    run_epochs(model, rows, None, recipe(weight_decay=0.01), max_epochs=3, patience=1, seed=5)

    seed_torch(0)
    plain = Line()
    optimizer = torch.optim.AdamW(plain.parameters(), lr=recipe().learning_rate, weight_decay=0.01)
    order, average, step = torch.Generator().manual_seed(5), None, 0
    for _ in range(3):
        for batch in rows.shuffled(torch.randperm(24, generator=order), recipe().batch_size):
            optimizer.zero_grad()
            (plain(*batch.inputs) - batch.target).square().mean().backward()
            optimizer.step()
            now = plain.linear.weight.detach().clone()
            decay = min(0.99, (1 + step) / (10 + step))
            average = now if average is None else decay * average + (1 - decay) * now
            step += 1
    np.testing.assert_allclose(model.linear.weight.detach(), average, rtol=1e-5)


def test_the_average_looks_back_a_hundred_steps_at_most():
    average, current = Line(0.0), Line(1.0)
    average_weights(average, current, 10**6)
    np.testing.assert_allclose(average.linear.weight.detach(), 0.01, rtol=1e-5)


def test_without_validation_all_epochs_are_trained():
    trained = run_epochs(Line(), part(20, slope=2.0), None, recipe(), max_epochs=7, patience=1, seed=3)
    assert (len(trained.curve.train_loss), trained.curve.val_loss, trained.curve.val_rmse_log) == (7, [], [])


def test_leaves_the_model_in_evaluation_mode():
    model = nn.Sequential(nn.Linear(2, 1), nn.Dropout(0.5), nn.Flatten(0))
    run_epochs(model, part(20, slope=2.0), part(20, slope=2.0), recipe(), max_epochs=1, patience=1, seed=3)
    assert not any(module.training for module in model.modules())


def test_dropout_is_on_in_every_step_and_off_where_epochs_are_judged():
    model, modes = Line(), []
    model.register_forward_pre_hook(lambda module, _: modes.append(module.training))  # its copies have the hook too
    run_epochs(model, part(17, slope=1.0), part(3, slope=1.0), recipe(), max_epochs=2, patience=2, seed=3)
    assert modes == 2 * [True, True, True, False]


def test_a_loss_that_is_not_finite_is_refused():
    with pytest.raises(DataError, match="expected a finite validation loss, got nan, in epoch 1"):
        run_epochs(Line(math.nan), part(20, slope=1.0), part(5, slope=1.0), recipe(), max_epochs=3, patience=3, seed=3)


def test_one_batch_is_one_step_of_adamw():
    # Loshchilov and Hutter, "Decoupled Weight Decay Regularization", algorithm 2, at step 1.
    model, data, changed = Line(0.3), part(8, slope=2.0), recipe(weight_decay=0.1)
    features, target = (tensor.numpy().astype(np.float64) for tensor in whole(data))
    gradient = 2 * (features @ [0.3, 0.3] - target) @ features / len(target)
    expected = 0.3 - 0.05 * 0.1 * 0.3 - 0.05 * gradient / (np.abs(gradient) + 1e-8)
    run_epochs(model, data, part(1, slope=2.0), changed, max_epochs=1, patience=1, seed=3)
    np.testing.assert_allclose(model.linear.weight.detach().numpy()[0], expected, rtol=1e-5)


class Lines(nn.Module):
    """(B, 2) to (B, 2) of two `Line`s in training, and to their mean (B,) otherwise."""

    def __init__(self):
        super().__init__()
        self.members = nn.ModuleList([Line(-1.0), Line(2.0)])

    def forward(self, features):
        members = torch.stack([member(features) for member in self.members], dim=1)
        return members if self.training else members.mean(dim=1)


def test_each_of_several_members_learns_as_if_it_were_alone():
    together, alone = Lines(), [Line(-1.0), Line(2.0)]
    for model in (together, *alone):
        run_epochs(model, part(16, 0.5), None, recipe(), 3, 1, seed=0)
    for member, single in zip(together.members, alone, strict=True):
        torch.testing.assert_close(member.linear.weight, single.linear.weight)  # AdamW knows no scale of a loss
    assert not torch.equal(*(line.linear.weight for line in alone))


def test_validation_and_prediction_in_blocks_are_as_in_one_piece(monkeypatch):
    def results():
        model, data = Line(0.3), part(20, slope=1.0)
        features = whole(data)[0].numpy()
        trained = run_epochs(
            model, data, data, recipe(batch_size=20, learning_rate=0.0), max_epochs=1, patience=1, seed=3
        )
        return trained.curve.val_loss, run_in_blocks(model, (features,)), model.batch_sizes

    loss, predicted, sizes = results()
    monkeypatch.setattr("clipfarm_tasks.models.rows.BLOCK_ROWS", 6)
    loss_in_blocks, predicted_in_blocks, block_sizes = results()
    np.testing.assert_allclose(loss_in_blocks, loss, rtol=1e-6)
    np.testing.assert_allclose(predicted_in_blocks, predicted, rtol=1e-6)
    assert (sizes, block_sizes) == ([20, 20], [20, 6, 6, 6, 2])


def test_no_rows_have_no_outputs():
    outputs = run_in_blocks(Line(), (np.zeros((0, 2), np.float32),))
    assert (outputs.shape, outputs.dtype) == ((0,), np.float32)


@pytest.mark.parametrize(("rows", "size"), [(12, 64), (2048, 64), (3200, 100), (8192, 256), (10**7, 256)])
def test_few_rows_are_trained_in_smaller_batches(rows, size):
    assert recipe_for(rows, recipe(batch_size=256, least_batch_size=64)).batch_size == size
