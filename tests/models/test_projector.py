from dataclasses import replace

import numpy as np
import pytest
import torch

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.models.family import Curve
from clipfarm_tasks.models.gbdt import GbdtFamily
from clipfarm_tasks.models.projector import GBDT, Projector, projector_options
from clipfarm_tasks.models.rows import Labelled
from clipfarm_tasks.models.training_loop import Trained

CHOSEN = Trained(Curve([], [], []), best_epoch=3, batch_size=32)


def labelled(n, seed):
    fused = np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)
    return Labelled((fused,), 4 + 2 * fused[:, 0])


def test_learns_from_vectors_and_targets_of_the_same_rows(new_videos, options):
    # Only the vectors know the target here: fed the rows of one part beside the targets of another, the projector
    # would learn noise, and its validation RMSE would stay at the target's spread.
    data = new_videos(800)
    data = replace(data, target=5 + 2 * data.rows.fused[:, 0])
    train, val = data.take(np.random.default_rng(0).permutation(740)), data.take(range(740, 800))
    short = options(max_epochs=20, numeric_cols=())
    report = GbdtFamily().fit(train.rows, train.target, val.rows, val.target, short)
    assert min(report.curves["gbdt_projector"].val_rmse_log) < 0.5 * val.target.std()


def test_all_vectors_beside_the_train_targets_are_refused(options):
    everything, train = labelled(100, seed=0), labelled(70, seed=0)
    with pytest.raises(DataError, match="of the same rows, got 100 vectors and 70 targets, in the train part"):
        Projector.fit(Labelled(everything.arrays, train.target), labelled(15, seed=1), options())


def test_the_validation_part_changes_no_weight_of_an_epoch(options):
    short = options(max_epochs=10, patience=20)
    val = labelled(30, seed=1)
    first, trained = Projector.fit(labelled(100, seed=0), val, short)
    shuffled = Labelled((val.arrays[0][::-1].copy(),), val.target[::-1].copy())
    second, _ = Projector.fit(labelled(100, seed=0), shuffled, short)
    np.testing.assert_array_equal(first(val.arrays[0]), second(val.arrays[0]))
    assert 1 <= trained.best_epoch <= 10


@pytest.mark.parametrize(
    ("max_epochs", "patience", "expected"),
    [(40, 6, (20, 6)), (1, 1, (10, 4)), (15, 8, (15, 8)), (1000, 1000, (20, 8))],
)
def test_epochs_and_patience_are_held_to_their_limits(options, max_epochs, patience, expected):
    held = projector_options(options(max_epochs=max_epochs, patience=patience))
    assert (held.max_epochs, held.patience) == expected


def test_projection_is_the_hidden_layer_under_the_head(options):
    rows = labelled(60, seed=0)
    projector, _ = Projector.fit(rows, labelled(20, seed=1), options(projector_dim=3))
    projected = projector(rows.arrays[0])
    assert (projected.shape, projected.dtype) == ((60, 3), np.float32)
    weights = {name: value.numpy() for name, value in projector.net.state_dict().items()}
    with torch.no_grad():
        whole = projector.net(torch.tensor(rows.arrays[0])).numpy()
    np.testing.assert_allclose(projected @ weights["head.weight"][0] + weights["head.bias"], whole, rtol=1e-5)


def test_out_of_fold_projections_come_from_projectors_that_never_saw_the_row(options):
    rng = np.random.default_rng(0)
    fused, target = rng.normal(size=(300, 12)).astype(np.float32), rng.normal(size=300).astype(np.float32)
    train, val = Labelled((fused,), target), Labelled((fused[:40],), target[:40])
    before = Projector.cross_fit(train, val, options()).projected
    assert before.shape == (300, options().projector_dim)
    # Another label of one row changes the projections of the rows outside of its fold, and not those within.
    changed = target.copy()
    changed[7] += 50
    after = Projector.cross_fit(Labelled((fused,), changed), val, options()).projected
    same = (before == after).all(axis=1)
    assert same[7]
    assert same.sum() == 300 // GBDT.folds


def test_the_head_of_an_in_sample_projection_flatters_itself_and_that_out_of_fold_does_not(options):
    rng = np.random.default_rng(1)
    fused, noise = rng.normal(size=(200, 60)).astype(np.float32), rng.normal(size=200).astype(np.float32)
    train, val = Labelled((fused,), noise), Labelled((fused[:50],), noise[:50])  # val says: go on

    def r2(projection):
        design = np.column_stack([projection, np.ones(len(noise))])
        return 1 - np.sum((noise - design @ np.linalg.lstsq(design, noise, rcond=None)[0]) ** 2) / np.sum(noise**2)

    projector, _ = Projector.fit(train, val, options(max_epochs=20))
    assert r2(projector(fused)) > 2 * r2(Projector.cross_fit(train, val, options(max_epochs=20)).projected)


@pytest.mark.parametrize("n", [1, 3])
def test_fewer_rows_than_folds_are_projected_too(options, n):
    fused, target = np.ones((n, 4), np.float32), np.ones(n, np.float32)
    rows = Labelled((fused,), target)
    assert np.isfinite(Projector.cross_fit(rows, rows, options()).projected).all()


def test_without_validation_the_epochs_are_those_that_were_chosen(options):
    fused, target = np.ones((40, 4), np.float32), np.ones(40, np.float32)
    _, trained = Projector.fit(Labelled((fused,), target), None, options(max_epochs=40), CHOSEN)
    assert (len(trained.curve.train_loss), trained.batch_size) == (3, 32)


def test_rows_of_no_fold_are_projected_by_the_mean_of_the_folds_weights(options):
    train, val = labelled(100, seed=0), labelled(30, seed=1)
    one_of_each = []

    class Watched(Projector):
        @classmethod
        def fit(cls, *args):
            one_of_each.append(super().fit(*args))
            return one_of_each[-1]

    found = Watched.cross_fit(train, val, options())
    assert len(one_of_each) == GBDT.folds
    for name, value in found.projector.net.state_dict().items():
        expected = np.mean([one.net.state_dict()[name].numpy() for one, _ in one_of_each], axis=0)
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-5, atol=1e-7)
    curves = [trained.curve.val_loss for _, trained in one_of_each]
    shortest = min(map(len, curves))
    np.testing.assert_allclose(found.curve.val_loss, np.mean([curve[:shortest] for curve in curves], axis=0))


def test_a_cross_fit_without_validation_trains_each_fold_as_long_as_was_chosen(options):
    trainings = [replace(CHOSEN, best_epoch=epochs) for epochs in (1, 2, 3, 4, 5)]
    found = Projector.cross_fit(labelled(100, seed=0), None, options(), trainings)
    assert [len(one.curve.train_loss) for one in found.trained] == [1, 2, 3, 4, 5]
    assert (len(found.curve.train_loss), found.curve.val_loss) == (1, [])
