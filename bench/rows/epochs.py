"""One epoch of each network in the pipeline's training loop against a torch DataLoader over single rows."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from bench.epoch_inputs import NAMES, EpochInputs, epoch_inputs
from bench.machine import cores
from bench.per_row import train_per_row
from bench.profiles import operator_groups
from bench.result import Row
from bench.sample import ratio, repeated
from bench.workbench import Workbench
from clipfarm_tasks.models.rows import rows_on
from clipfarm_tasks.models.seeds import seed_torch
from clipfarm_tasks.models.training_loop import run_epochs

SPEEDUP = 3.0
_SEED = 42
_WARM_UP_VIDEOS = 400


def epochs(bench: Workbench) -> list[Row]:
    """One row per network: a pass over the train part and one over the validation part, all cores, on the CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(cores())
    try:
        return [_network(bench, name) for name in NAMES]
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class TimedEpoch:
    """One epoch of the pipeline's loop: its seconds, and the network it leaves."""

    seconds: float
    network: nn.Module


def epochs_on(inputs: EpochInputs, device: torch.device) -> Callable[[], TimedEpoch]:
    """A function that runs one epoch of the pipeline's loop on a device, where the rows are already."""
    train_rows, val_rows = rows_on(device, (inputs.train, inputs.val))

    def one_epoch() -> TimedEpoch:
        seed_torch(_SEED)
        model = inputs.build().to(device)
        began = time.perf_counter()
        run_epochs(model, train_rows, val_rows, inputs.recipe, max_epochs=1, patience=1, seed=_SEED)
        return TimedEpoch(time.perf_counter() - began, model)

    return one_epoch


def _network(bench: Workbench, name: str) -> Row:
    plan = bench.plan
    inputs = epoch_inputs(name, plan.epoch_videos, plan.width)
    one_epoch = epochs_on(inputs, torch.device("cpu"))

    def baseline(*, fused: bool) -> float:
        seed_torch(_SEED)
        model = inputs.build()
        began = time.perf_counter()
        train_per_row(model, inputs.train, inputs.val, inputs.recipe, epochs=1, fused=fused)
        return time.perf_counter() - began

    _warm_up(name, plan.width)
    ours = repeated(lambda: one_epoch().seconds, plan.repeats)
    per_row = repeated(lambda: baseline(fused=False), plan.repeats)
    found = ratio(per_row, ours)
    per_row_fused = repeated(lambda: baseline(fused=True), plan.repeats)
    found_fused = ratio(per_row_fused, ours)
    bench.say(f"{name}: {ours.median:.2f} s, one row at a time {per_row.median:.2f} s")
    missed = found.value < SPEEDUP
    return Row(
        name=f"epoch, {name}",
        what=f"one epoch of {name} over {plan.epoch_videos:,} videos, {plan.width} wide, {cores()} threads",
        against="torch DataLoader over a Dataset of single rows, same model and threads",
        target=f"≥ {SPEEDUP:g} x faster",
        measured=found.value,
        unit="x faster",
        spread=found.spread,
        runs=found.runs,
        reached=not missed,
        note=f"{len(inputs.train.target):,} rows trained on, {len(inputs.val.target):,} validated on, values made up; "
        "the baseline has AdamW as torch builds it by default, with the pipeline's fused one it is "
        f"{found_fused.value:.2f} x ({found_fused.spread[0]:.2f} to {found_fused.spread[1]:.2f})",
        values={
            "epoch_s": ours.median,
            "per_row_s": per_row.median,
            "per_row_fused_s": per_row_fused.median,
        },
        profile=operator_groups(one_epoch) if missed else {},
    )


def _warm_up(name: str, width: int) -> None:
    """What torch does once per process or width, on a few rows."""
    inputs = epoch_inputs(name, _WARM_UP_VIDEOS, width)
    epochs_on(inputs, torch.device("cpu"))()
    train_per_row(inputs.build(), inputs.train, inputs.val, inputs.recipe, epochs=1)
