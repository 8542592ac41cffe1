"""A device that runs out of memory in a fit: one more attempt with half the batch, which is then the fit's own."""

import gc
import re
import weakref
from dataclasses import replace
from operator import itemgetter

import numpy as np
import pytest
import torch
from torch import nn

from clipfarm_tasks.errors import TransientError
from clipfarm_tasks.families import PRESETS, Device, Family, NeuralPreset
from clipfarm_tasks.models import network, rows, training_loop
from clipfarm_tasks.models.network import fit_network
from clipfarm_tasks.models.registry import create
from clipfarm_tasks.models.rows import DeviceRows, HostRows, Labelled

SAID = "CUDA out of memory. Tried to allocate 20.00 MiB."
RECIPE = NeuralPreset(hidden=(6,), dropout=0.3, learning_rate=0.01, weight_decay=0.0, batch_size=32, least_batch_size=1)


class Failing:
    """A function that raises at the given calls, counted from 1, and else does what it did before."""

    def __init__(self, function, calls, kind=torch.OutOfMemoryError, said=SAID):
        self.function, self.failing, self.kind, self.said = function, calls, kind, said
        self.calls = 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls in self.failing:
            raise self.kind(self.said)
        return self.function(*args, **kwargs)


def fail_at_batches(monkeypatch, *calls, **error):
    """The loss of those training batches, counted over all attempts, does not fit."""
    monkeypatch.setattr(nn.functional, "mse_loss", Failing(nn.functional.mse_loss, calls, **error))


def labelled(n, width=4, seed=0):
    features = np.random.default_rng(seed).standard_normal((n, width), dtype=np.float32)
    return Labelled((features,), features[:, 0] + 3)


def build(width=4):
    return nn.Sequential(nn.Linear(width, 6), nn.Dropout(RECIPE.dropout), nn.Linear(6, 1), nn.Flatten(0))


def fit(options, recipe=RECIPE, make=build):
    return fit_network(make, itemgetter(2), labelled(150), labelled(40, seed=1), recipe, options)


def assert_same(one, other):
    """Both fits have the same curve and weights, bit by bit."""
    (model, trained), (other_model, other_trained) = one, other
    assert trained == other_trained
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), other_model.state_dict()[name].numpy())


@pytest.fixture
def half(options):
    """The fit of a recipe with half the batch."""
    return fit(options(), replace(RECIPE, batch_size=16))


@pytest.mark.parametrize("batch", [1, 3, 8], ids=["first batch", "third batch", "second epoch"])
def test_out_of_memory_in_a_batch_is_a_fit_with_half_the_batch(monkeypatch, options, half, batch):
    fail_at_batches(monkeypatch, batch)
    found = fit(options())
    assert_same(found, half)
    assert found[1].batch_size == 16


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (torch.OutOfMemoryError, "CUBLAS_STATUS_INTERNAL_ERROR"),
        (torch.AcceleratorError, "CUDA error: out of memory"),
        (RuntimeError, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_whoever_tells_that_memory_is_short_is_believed(monkeypatch, options, half, caplog, kind, said):
    fail_at_batches(monkeypatch, 3, kind=kind, said=said)
    assert_same(fit(options()), half)
    assert caplog.records[0].getMessage().endswith(said)
    fail_at_batches(monkeypatch, 3, 5, kind=kind, said=said)
    with pytest.raises(TransientError, match=re.escape(f"torch says: {said}")):
        fit(options())


def test_out_of_memory_in_the_validation_is_a_fit_with_half_the_batch(monkeypatch, options, half):
    monkeypatch.setattr(training_loop, "_mean_squared_error", Failing(training_loop._mean_squared_error, {2}))
    assert_same(fit(options()), half)


def test_out_of_memory_while_rows_are_placed_leaves_them_on_the_host(monkeypatch, options, half):
    def placed(device, parts):
        return tuple(DeviceRows(part, device) for part in parts)

    def trained(model, train_rows, val_rows, *rest):
        kinds.append((type(train_rows), type(val_rows)))
        return training_loop.run_epochs(model, train_rows, val_rows, *rest)

    kinds = []
    monkeypatch.setattr(network, "rows_on", placed)
    monkeypatch.setattr(network, "run_epochs", trained)
    fit(options())
    monkeypatch.setattr(rows, "_resident", Failing(rows._resident, {2}))
    assert_same(fit(options()), half)
    assert kinds == [(DeviceRows, DeviceRows), (HostRows, HostRows)]


def test_nothing_of_the_first_attempt_is_left_when_its_memory_is_given_back(monkeypatch, options):
    def make():
        model = build()
        made.extend(weakref.ref(value) for value in (model, *model.parameters()))
        return model

    made, alive = [], []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append([ref() for ref in made if ref() is not None]))
    fail_at_batches(monkeypatch, 8)
    gc.collect()
    gc.disable()
    try:
        fit(options(), make=make)
    finally:
        gc.enable()
    assert alive == [[]]
    assert len(made) == 2 * 5


def test_one_warning_tells_the_batch_size_and_what_torch_said(monkeypatch, options, caplog):
    fail_at_batches(monkeypatch, 3)
    fit(options())
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "cpu is out of memory with batches of 32 rows; starting over with 16" in record.getMessage()
    assert record.getMessage().endswith(SAID)


def test_the_second_time_is_transient_and_says_what_to_do(monkeypatch, options, caplog):
    given_back = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given_back.append(len(caplog.records)))
    fail_at_batches(monkeypatch, 3, 5)
    message = "expected the job to fit into the memory of cpu, got out of memory with batches of 32 and of 16 rows: "
    with pytest.raises(TransientError, match=f"{message}.*take one with more memory, or use device=cpu.*{SAID}") as got:
        fit(options())
    assert got.value.exit_code == 1
    # Neither may be there: its traceback would keep the tensors in memory for as long as somebody keeps the error.
    assert (got.value.__cause__, got.value.__context__) == (None, None)
    assert len(caplog.records) == 1
    assert given_back == [0, 1]  # once before the warning, once before the error


def test_half_of_one_row_is_one_row(monkeypatch, options):
    single = replace(RECIPE, batch_size=1)
    expected = fit(options(max_epochs=1), single)
    fail_at_batches(monkeypatch, 1)
    assert_same(fit(options(max_epochs=1), single), expected)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (MemoryError, SAID),
        (RuntimeError, "mat1 and mat2 shapes cannot be multiplied"),
        (torch.AcceleratorError, "CUDA error: an illegal memory access was encountered"),
    ],
)
def test_other_errors_are_not_tried_again(monkeypatch, options, caplog, kind, said):
    fail_at_batches(monkeypatch, 3, kind=kind, said=said)
    with pytest.raises(kind, match=said):
        fit(options())
    assert nn.functional.mse_loss.calls == 3
    assert caplog.records == []


def test_other_errors_of_the_second_attempt_escape_too(monkeypatch, options):
    failing = Failing(nn.functional.mse_loss, {3})
    monkeypatch.setattr(nn.functional, "mse_loss", Failing(failing, {5}, RuntimeError, "shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        fit(options())
    assert failing.calls == 4


def test_each_attempt_has_the_threads_of_the_options_before_its_module_is_built(monkeypatch, options):
    def make():
        threads.append(torch.get_num_threads())
        torch.set_num_threads(1)
        return build()

    threads, before = [], torch.get_num_threads()
    fail_at_batches(monkeypatch, 3)
    try:
        fit(options(threads=2), make=make)
    finally:
        torch.set_num_threads(before)
    assert threads == [2, 2]


def test_the_device_is_resolved_once(monkeypatch, options):
    resolve = Failing(network.resolve_device, ())
    monkeypatch.setattr(network, "resolve_device", resolve)
    fail_at_batches(monkeypatch, 3)
    fit(options())
    assert resolve.calls == 1


def recipe_of(family, batch_size):
    """The family's preset with another batch size, and a function that reads that from a report."""
    preset = PRESETS[family].hyperparams
    if family is Family.GBDT:
        smaller = replace(preset, projector=replace(preset.projector, batch_size=batch_size))
        return smaller, lambda report: report.hyperparams["projector"]["batch_size"]
    return replace(preset, batch_size=batch_size), lambda report: report.hyperparams["batch_size"]


@pytest.mark.parametrize("family", [Family.CONCAT_MLP, Family.GATED_FUSION_MLP, Family.GBDT, Family.TABM])
def test_a_family_is_as_if_its_preset_had_half_the_batch(monkeypatch, videos, options, family):
    def fitted(size):
        recipe, batch_size = recipe_of(family, size)
        model, train, val = create(family, recipe), videos.take(range(150)), videos.take(range(150, 200))
        report = model.fit(train.rows, train.target, val.rows, val.target, options())
        assert batch_size(report) == 32
        return report, model.predict(videos.rows)

    expected, expected_predictions = fitted(32)
    fail_at_batches(monkeypatch, 2)
    report, predictions = fitted(64)
    assert report == expected
    np.testing.assert_array_equal(predictions, expected_predictions)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_rows_beyond_the_memory_of_a_real_device_are_trained_from_the_host(options, caplog):
    train_rows, val_rows = labelled(60_000, width=1000), labelled(2000, width=1000, seed=1)

    def fitted(batch_size):
        on_cuda, recipe = options(device=Device.CUDA, max_epochs=1), replace(RECIPE, batch_size=batch_size)
        return fit_network(lambda: build(1000), itemgetter(2), train_rows, val_rows, recipe, on_cuda)

    expected = fitted(512)
    assert caplog.records == []
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    # The rows take 240 MB. What the driver calls free, by which they are placed, knows nothing of this limit.
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 160 * 2**20) / total)
    try:
        found = fitted(1024)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    [record] = caplog.records
    assert "starting over with 512 and all rows on the host: CUDA out of memory" in record.getMessage()
    assert_same(found, expected)
