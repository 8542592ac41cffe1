"""The command ``step``: one step of a run by its name."""

import json
from typing import Any

from clipfarm_tasks.config import Frozen, Settings
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import Family, Horizon, Strategy
from clipfarm_tasks.steps.catalog import execute
from clipfarm_tasks.steps.resolve_run import resolve_run
from clipfarm_tasks.storage import open_store

_RESOLVE = "resolve_run"
_NO_PARAMS = "{}"


def run_step(
    name: str, run_id: str, strategy: Strategy | None, horizon: Horizon | None, family: Family | None, params: str
) -> Frozen:
    """Run a step; only ``resolve_run`` takes ``params`` (a JSON object), only the others take selectors.

    Raises:
        ConfigError: the step does not exist or does not take what it was given, or ``params`` is no JSON object.
    """
    settings = Settings.from_environment()
    if name == _RESOLVE:
        if (strategy, horizon, family) != (None, None, None):
            raise ConfigError(f"step {_RESOLVE}: expected selections inside --params, got --strategy/--horizon/--model")
        return resolve_run(open_store(settings), _parsed(params), run_id)
    if params != _NO_PARAMS:
        raise ConfigError(f"step {name}: expected --params only for {_RESOLVE}, got {params!r}")
    return execute(name, open_store(settings), settings, run_id, strategy, horizon, family)


def _parsed(params: str) -> dict[str, Any]:
    try:
        values = json.loads(params)
    except json.JSONDecodeError as error:
        raise ConfigError(f"--params: expected a JSON object, got {params!r}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"--params: expected a JSON object, got {params!r}")
    return values
