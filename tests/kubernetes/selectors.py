"""Label and field selectors as the Kubernetes API reads them from a query."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.kubernetes.api_error import ApiError

Selector = Callable[[Mapping[str, Any]], bool]

_COMMA = re.compile(r",(?![^(]*\))")
_SET = re.compile(r"(?P<key>[^\s!=]+)\s+(?P<operator>in|notin)\s+\((?P<values>[^)]*)\)")
_EQUALITY = re.compile(r"(?P<key>[^\s!=]+)\s*(?P<operator>==|=|!=)\s*(?P<value>[^\s!=]*)")
_EXISTENCE = re.compile(r"(?P<no>!?)\s*(?P<key>[^\s!=]+)")


def by_labels(text: str) -> Selector:
    """``a=b``, ``a==b``, ``a!=b``, ``a in (b,c)``, ``a notin (b,c)``, ``a``, ``!a``, separated by commas.

    Raises:
        ApiError: 400, it is none of these.
    """
    requirements = [_requirement(part.strip()) for part in _COMMA.split(text) if part.strip()]
    return lambda found: all(holds(found["metadata"].get("labels", {})) for holds in requirements)


def by_fields(text: str) -> Selector:
    """``path.to.field=value`` and ``!=``, separated by commas.

    Raises:
        ApiError: 400, it is neither.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    matches = [_EQUALITY.fullmatch(part) for part in parts]
    if not all(matches):
        raise ApiError(400, f"invalid field selector {text!r}")
    wanted = [(match["key"].split("."), match["operator"] == "!=", match["value"]) for match in matches if match]
    return lambda found: all((_field(found, path) == value) != negated for path, negated, value in wanted)


def _field(found: Mapping[str, Any], path: list[str]) -> Any:
    value: Any = found
    for name in path:
        value = value.get(name, {})
    return "" if value == {} else value


def _requirement(text: str) -> Callable[[Mapping[str, str]], bool]:
    if match := _SET.fullmatch(text):
        key, values, negated = match["key"], re.split(r"\s*,\s*", match["values"].strip()), match["operator"] == "notin"
        return lambda labels: (labels.get(key) in values) != negated
    if match := _EQUALITY.fullmatch(text):
        key, value, negated = match["key"], match["value"], match["operator"] == "!="
        return lambda labels: (labels.get(key) == value) != negated
    if match := _EXISTENCE.fullmatch(text):
        key, negated = match["key"], bool(match["no"])
        return lambda labels: (key in labels) != negated
    raise ApiError(400, f"unable to parse requirement: {text!r}")
