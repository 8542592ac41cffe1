"""What tuning may change in a recipe: read from it, suggested to a trial, put into it."""

import dataclasses
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import PRESETS, Family, Recipe, Span

if TYPE_CHECKING:
    import optuna

Values = Mapping[str, float]
"""Values of a recipe by name; that of a nested recipe has a dot in its name."""


def values_of_code(family: Family) -> dict[str, float]:
    """What tuning may change, as the preset of the code has it."""
    preset = PRESETS[family]
    return {name: attrgetter(name)(preset.hyperparams) for name in preset.space}


def suggested(trial: "optuna.Trial", family: Family) -> dict[str, float]:
    """Values that the study wants to know the score of."""
    return {name: _suggested(trial, name, span) for name, span in PRESETS[family].space.items()}


def recipe_with(family: Family, values: Values, where: str) -> Recipe:
    """The recipe of the family's preset with these values.

    Args:
        family: whose.
        values: those that are to differ from the preset of the code.
        where: what they come from, for the message.

    Raises:
        DataError: the space of the family has no such name, or a value is outside its span; tells all of them.
    """
    preset = PRESETS[family]
    problems = [text for name, value in values.items() if (text := _problem(name, value, preset.space))]
    if problems:
        raise DataError(f"expected values that tuning may choose for {family}, got {'; '.join(problems)}, in {where}")
    recipe = preset.hyperparams
    for name, value in values.items():
        recipe = _replaced(recipe, name.split("."), int(value) if preset.space[name].is_whole else float(value))
    return recipe


def _suggested(trial: "optuna.Trial", name: str, span: Span) -> float:
    if span.is_whole:
        return trial.suggest_int(name, int(span.low), int(span.high), log=span.log)
    return trial.suggest_float(name, span.low, span.high, log=span.log)


def _problem(name: str, value: float, space: Mapping[str, Span]) -> str | None:
    if name not in space:
        return f"{name}, which is none of {', '.join(space)}"
    span = space[name]
    if not span.low <= value <= span.high:
        return f"{name} = {value:g}, which is not from {span.low:g} to {span.high:g}"
    if span.is_whole and value != int(value):
        return f"{name} = {value:g}, which is no whole number"
    return None


def _replaced(recipe: Any, path: Sequence[str], value: float) -> Any:
    name, *inner = path
    changed = _replaced(getattr(recipe, name), inner, value) if inner else value
    return dataclasses.replace(recipe, **{name: changed})
