"""The contract of `Rows`, once for both places where rows may live."""

import warnings

import numpy as np
import pytest
import torch

from clipfarm_tasks.models import rows as module
from clipfarm_tasks.models.rows import DeviceRows, HostRows, Labelled, rows_on

CPU = torch.device("cpu")
both = pytest.mark.parametrize("kind", [HostRows, DeviceRows])


def labelled(n=19):
    rng = np.random.default_rng(0)
    return Labelled(
        (
            rng.normal(size=(n, 3)).astype(np.float32),
            rng.normal(size=n).astype(np.float32),
            rng.integers(0, 9, size=(n, 2)),
        ),
        rng.normal(size=n).astype(np.float32),
    )


def assert_batches_are(batches, data, numbers):
    """``batches`` hold the rows of ``data`` with those numbers, in their order."""
    columns = [[*batch.inputs, batch.target] for batch in batches]
    for position, array in enumerate((*data.arrays, data.target)):
        found = torch.cat([batch[position] for batch in columns]).cpu().numpy()
        np.testing.assert_array_equal(found, array[numbers])
        assert found.dtype == array.dtype


@both
def test_shuffled_batches_follow_the_order(kind):
    data, order = labelled(), torch.randperm(19, generator=torch.Generator().manual_seed(0))
    batches = list(kind(data, CPU).shuffled(order, 8))
    assert [len(batch.target) for batch in batches] == [8, 8, 3]
    assert_batches_are(batches, data, order.numpy())


@both
def test_blocks_go_from_the_first_row_to_the_last(kind, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 5)
    data = labelled()
    rows = kind(data, CPU)
    batches = list(rows.in_order())
    assert [len(batch.target) for batch in batches] == [5, 5, 5, 4]
    assert_batches_are(batches, data, np.arange(19))
    assert len(rows) == 19


@both
def test_a_read_only_memory_map_is_read_without_a_warning_and_never_written(kind, tmp_path):
    np.save(tmp_path / "vectors.npy", labelled().arrays[0])
    vectors = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    data = Labelled((vectors,), labelled().target)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = kind(data, CPU)
        batches = [*rows.shuffled(torch.arange(19), 8), *rows.in_order()]
        for batch in batches:
            batch.inputs[0].add_(1.0)
    np.testing.assert_array_equal(vectors, labelled().arrays[0])


def test_rows_go_to_the_gpu_only_when_all_of_them_fit(monkeypatch):
    cuda, parts = torch.device("cuda"), (labelled(), labelled(7))
    size = sum(array.nbytes for part in parts for array in (*part.arrays, part.target))
    resident = []
    monkeypatch.setattr(module, "DeviceRows", lambda part, device: resident.append((part, device)))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (size, 2 * size))
    assert [type(rows) for rows in rows_on(cuda, parts)] == [HostRows, HostRows]
    assert resident == []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2 * size, 2 * size))
    rows_on(cuda, parts)
    assert [(len(part.target), device) for part, device in resident] == [(19, cuda), (7, cuda)]
    assert [type(rows) for rows in rows_on(CPU, parts)] == [HostRows, HostRows]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@both
def test_batches_on_cuda_hold_the_same_rows(kind, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 5)
    data, order = labelled(), torch.randperm(19, generator=torch.Generator().manual_seed(0))
    rows = kind(data, torch.device("cuda"))
    batches = list(rows.shuffled(order, 8))
    assert all(tensor.is_cuda for batch in batches for tensor in (*batch.inputs, batch.target))
    assert_batches_are(batches, data, order.numpy())
    assert_batches_are(list(rows.in_order()), data, np.arange(19))


@pytest.mark.parametrize("kind", [HostRows, DeviceRows])
def test_chosen_rows_are_the_only_ones(kind):
    arrays = (np.arange(12, dtype=np.float32).reshape(6, 2),)
    target = np.arange(6, dtype=np.float32)
    chosen = Labelled(arrays, target, np.array([5, 0, 3]))
    rows = kind(chosen, torch.device("cpu"))
    assert (len(rows), chosen.labels().tolist()) == (3, [5, 0, 3])
    (batch,) = rows.in_order()
    assert batch.target.tolist() == [5, 0, 3]
    first, last = rows.shuffled(torch.tensor([2, 0, 1]), 2)
    assert (first.target.tolist(), last.target.tolist()) == ([3, 5], [0])
    assert first.inputs[0].tolist() == [[6, 7], [10, 11]]
