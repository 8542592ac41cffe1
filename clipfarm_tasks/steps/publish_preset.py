"""Publish what the studies of a pair have found as the next version of the preset file. No run takes it by itself."""

import logging
from collections.abc import Sequence

from clipfarm_tasks import keys
from clipfarm_tasks.config import Settings
from clipfarm_tasks.contracts import PresetRecord, TuningParams
from clipfarm_tasks.families import Family
from clipfarm_tasks.steps.context import StepContext, load_config
from clipfarm_tasks.steps.study_outcome import found_presets, tuned_on
from clipfarm_tasks.storage import Store
from clipfarm_tasks.tuning.preset_file import publish_presets

log = logging.getLogger(__name__)


def publish_preset(
    store: Store, settings: Settings, params: TuningParams, run_id: str, families: Sequence[Family]
) -> PresetRecord:
    """Write the file; a family for which nothing beats the preset of the code, or is known, is left out of it.

    Raises:
        MissingObjectError: no run of this id was resolved.
        DataError: no study has scored the preset of the code.
        TransientError: the server cannot be reached.
    """
    context = StepContext(store, settings, load_config(store, run_id))
    pair = (params.strategy, params.horizon)
    found, unknown = found_presets(context, *pair, families)
    for family, why in unknown.items():
        log.warning("publish_preset: %s: %s", family, why)
    better = {family: preset for family, preset in found.items() if preset.difference < 0}
    for family, preset in found.items():
        log.info("publish_preset: %s: %s", family, preset.model_dump_json())
    if not better:
        log.warning("publish_preset: no trial was better than the preset of the code: nothing is published")
        return PresetRecord(version=None, key=None, differences={}, unknown=tuple(unknown))
    file = publish_presets(store, tuned_on(context, *pair), better)
    return PresetRecord(
        version=file.version,
        key=keys.presets(file.version),
        differences={family: preset.difference for family, preset in better.items()},
        unknown=tuple(unknown),
    )
