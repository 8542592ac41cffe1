"""The fields of a trigger form, derived from the params' model: no default, limit or description is repeated here."""

from collections.abc import Mapping, Sequence
from typing import Any

from clipfarm_tasks.config import Frozen, RunParams

_DROPPED = frozenset({"$ref", "title"})


def form_fields(params: type[Frozen] = RunParams) -> dict[str, dict[str, Any]]:
    """Describe every parameter of a model as the keyword arguments of an Airflow ``Param``.

    Returns:
        By parameter name: ``default``, ``description`` and the JSON schema keys (``type``, ``minimum``, ``enum``, ...).
    """
    schema = params.model_json_schema()
    definitions = schema.get("$defs", {})
    return {name: _field(_inlined(prop, definitions), definitions) for name, prop in schema["properties"].items()}


def from_form(answers: Mapping[str, Any]) -> dict[str, Any]:
    """Turn what the form sends into values for `RunParams`: what was emptied arrives as null, and is not given.

    Unknown names and wrong values pass through, so that `RunParams.parse` can list them all.
    """
    optional = {name for name, field in form_fields().items() if "null" in field["type"]}
    return {name: value for name, value in answers.items() if not (value is None and name in optional)}


def _field(field: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    if field["type"] == "array":
        items = _inlined(field["items"], definitions)
        if "enum" in items:
            return _multi_select(field, items["enum"])
    if field["default"] in ("", []):
        # The form (Airflow 3.3) sends null for a text, or a list with one text a line, that was emptied, and disables
        # its Trigger button while one that may not be null is empty.
        return field | {"type": [field["type"], "null"]}
    return field


def _multi_select(field: dict[str, Any], values: Sequence[Any]) -> dict[str, Any]:
    """Offer a closed list of texts.

    The form draws a multi-select where a field has ``examples``, and always sends texts. It reads only ``items.type``;
    ``items.enum`` is what makes the API server refuse anything else.
    """
    choices = [str(choice) for choice in values]
    return field | {
        "default": [str(choice) for choice in field["default"]],
        "items": {"type": "string", "enum": choices},
        "examples": choices,
    }


def _inlined(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Replace a reference by what it points to: the form does not follow ``$ref``."""
    target = definitions[schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else {}
    inlined = {key: value for key, value in {**target, **schema}.items() if key not in _DROPPED}
    # pydantic writes a field that may be null as a choice of schemas, and the form reads a list of types.
    choices = inlined.pop("anyOf", [])
    types = {"type": [choice["type"] for choice in choices]} if choices else {}
    return {key: value for choice in choices for key, value in choice.items()} | inlined | types
