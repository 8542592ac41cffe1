"""The command ``tune``: one worker of each family's study, one family after the other, and what they have found."""

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table

from clipfarm_tasks.config import Settings
from clipfarm_tasks.contracts import TuningParams
from clipfarm_tasks.families import Family
from clipfarm_tasks.steps.context import StepContext, load_config
from clipfarm_tasks.steps.publish_preset import publish_preset
from clipfarm_tasks.steps.run_trials import run_trials
from clipfarm_tasks.steps.study_outcome import found_presets
from clipfarm_tasks.storage import open_store
from clipfarm_tasks.tuning.preset_file import FoundPreset
from clipfarm_tasks.tuning.space import values_of_code


def tune_families(settings: Settings, params: TuningParams, run_id: str, console: Console, *, publish: bool) -> None:
    """Tune, tell, and publish where that is asked for.

    Raises:
        ClipfarmError: the run is unknown, its data were altered, nothing is known of any family, or the server cannot
            be reached.
    """
    store = open_store(settings)
    context = StepContext(store, settings, load_config(store, run_id))
    for family in params.models:
        record = run_trials(store, settings, params, run_id, family)
        states = ", ".join(f"{count} {state}" for state, count in record.trials.items())
        console.print(f"{family}: {states}", markup=False, soft_wrap=True)
    found, unknown = found_presets(context, params.strategy, params.horizon, params.models)
    for family, why in unknown.items():
        console.print(f"{family}: {why}", markup=False, soft_wrap=True)
    console.print(found_table(found))
    console.print("The val part has chosen what it judges here: a run that names the presets tells on its test part.")
    if not publish:
        return
    published = publish_preset(store, settings, params, run_id, params.models)
    if published.version is None:
        console.print("Nothing is better than the presets of the code: nothing is published")
    else:
        console.print(f"preset version {published.version}: {store.uri(str(published.key))}", soft_wrap=True)


def found_table(found: Mapping[Family, FoundPreset]) -> Table:
    """A line for each family, and one for each value that differs from the preset of the code."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("model", no_wrap=True)
    for heading in ("val RMSE\nof code", "\nfound", "\ndifference", "\n95 % interval", "\ntrials"):
        table.add_column(heading, justify="right", no_wrap=True)
    for family, preset in found.items():
        interval = preset.difference_interval
        table.add_row(
            family,
            f"{preset.val_rmse_log_of_code:.4f}",
            f"{preset.val_rmse_log:.4f}",
            f"{preset.difference:+.4f}",
            "unknown" if interval is None else f"{interval[0]:+.4f} to {interval[1]:+.4f}",
            str(preset.trials),
        )
        for name, value in values_of_code(family).items():
            if preset.values[name] != value:
                table.add_row(f"  {name}", f"{value:g}", f"{preset.values[name]:g}")
    return table
