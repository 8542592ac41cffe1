"""Where there is a GPU: samples per second of each network on it against the CPU, and against reading the data once."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bench.epoch_inputs import NAMES, EpochInputs, epoch_inputs
from bench.errors import NotHereError
from bench.result import Row
from bench.rows.epochs import TimedEpoch, epochs_on
from bench.sample import Sample, ratio, repeated
from bench.workbench import Workbench
from clipfarm_tasks.models.training_loop import run_in_blocks


def gpu(bench: Workbench) -> list[Row]:
    """Three rows per network, without targets.

    Raises:
        NotHereError: torch sees no CUDA device.
    """
    if not torch.cuda.is_available():
        raise NotHereError(
            f"expected a CUDA device for samples/s, its memory's floor and bf16, got none in torch {torch.__version__}"
        )
    return [row for name in NAMES for row in _network(bench, name)]


def _network(bench: Workbench, name: str) -> list[Row]:
    plan = bench.plan
    inputs = epoch_inputs(name, plan.epoch_videos, plan.width)
    on_gpu = _epochs(epochs_on(inputs, torch.device("cuda")), plan.repeats)
    on_cpu = _epochs(epochs_on(inputs, torch.device("cpu")), plan.repeats)
    tensors = [torch.from_numpy(array).cuda() for array in inputs.train.arrays]
    floor = repeated(lambda: _read_once(tensors), plan.repeats)
    samples = len(inputs.train.target)
    bench.say(f"{name}: {samples / on_gpu.median:,.0f} samples/s, on the CPU {samples / on_cpu.median:,.0f}")
    what = f"one epoch of {name} over {plan.epoch_videos:,} videos, {plan.width} wide, on the GPU"
    values = {"gpu_epoch_s": on_gpu.median, "cpu_epoch_s": on_cpu.median, "read_once_s": floor.median}
    rates = {"gpu_samples_per_s_n": samples / on_gpu.median, "cpu_samples_per_s_n": samples / on_cpu.median}
    return [
        _row(f"gpu, {name}", what, "the same epoch on the CPU, all cores", on_cpu, on_gpu, "x faster", values | rates),
        _row(f"gpu floor, {name}", what, "reading its train part once in device memory", on_gpu, floor, "x", values),
        _bf16_row(name, what, inputs, on_gpu, plan.repeats),
    ]


def _bf16_row(name: str, what: str, inputs: EpochInputs, in_float32: Sample, repeats: int) -> Row:
    seconds, difference = bf16(inputs, torch.device("cuda"), repeats)
    note = f"after the epoch the two networks' predictions differ by at most {difference:.2g} in log space (limit 0.01)"
    values = {"bf16_epoch_s": seconds.median, "gpu_epoch_s": in_float32.median, "largest_difference_log": difference}
    row = _row(f"gpu bf16, {name}", f"{what}, bf16 autocast", "float32", in_float32, seconds, "x faster", values)
    return row.model_copy(update={"note": note})


def _row(name: str, what: str, against: str, over: Sample, under: Sample, unit: str, values: dict[str, float]) -> Row:
    found = ratio(over, under)
    return Row(
        name=name,
        what=what,
        against=against,
        target="",
        measured=found.value,
        unit=unit,
        spread=found.spread,
        runs=found.runs,
        reached=None,
        values=values,
    )


def _epochs(one_epoch: Callable[[], TimedEpoch], repeats: int) -> Sample:
    one_epoch()  # the first one on a device also starts its libraries
    return repeated(lambda: one_epoch().seconds, repeats)


def bf16(inputs: EpochInputs, device: torch.device, repeats: int) -> tuple[Sample, float]:
    """Seconds of an epoch under bf16 autocast, and how far the network it leaves predicts from one trained in float32.

    That is the largest difference over the validation part, both predicting in float32 as the pipeline does.
    """
    one_epoch = epochs_on(inputs, device)

    def in_bf16() -> TimedEpoch:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return one_epoch()

    seconds = _epochs(in_bf16, repeats)
    short, full = (run_in_blocks(epoch().network.cpu(), inputs.val.arrays) for epoch in (in_bf16, one_epoch))
    return seconds, float(np.abs(short - full).max())


def _read_once(tensors: list[Tensor]) -> float:
    for tensor in tensors:
        tensor.sum()  # the first sum of a shape also starts its kernel
    torch.cuda.synchronize()
    began = time.perf_counter()
    for tensor in tensors:
        tensor.sum()
    torch.cuda.synchronize()
    return time.perf_counter() - began
