"""A compose file as compose itself reads it: merges done, variables put in, for tests that ask what a service gets."""

import re

import yaml

# ${NAME}, ${NAME:-default}, ${NAME:?message}; $$ is a dollar sign. Compose knows more forms; the file uses these.
VARIABLE = re.compile(r"\$(?:(\$)|\{([A-Z_0-9]+)(?::([-?])([^}]*))?\})")


class MissingVariableError(Exception):
    """A variable that the file wants is not set; the text is the file's own message."""


def variables(text):
    """Every variable in braces: name, ``-`` or ``?`` or None, default or message."""
    return [(name, kind, rest) for dollar, name, kind, rest in VARIABLE.findall(text) if not dollar]


def load(text, environ):
    """The file with the variables of ``environ``; what a service passes on without a value is left out if not there."""
    content = _put_in(yaml.safe_load(text), environ)
    for service in content["services"].values():
        given = service.get("environment", {})
        passed = {name: environ.get(name) if value is None else str(value) for name, value in given.items()}
        service["environment"] = {name: value for name, value in passed.items() if value is not None}
    return content


def _put_in(node, environ):
    if isinstance(node, dict):
        return {key: _put_in(value, environ) for key, value in node.items()}
    if isinstance(node, list):
        return [_put_in(value, environ) for value in node]
    if not isinstance(node, str):
        return node

    def value(match):
        dollar, name, kind, rest = match.groups()
        if dollar:
            return "$"
        if environ.get(name):
            return environ[name]
        if kind != "-":
            raise MissingVariableError(f"{name}: {rest}")
        return rest

    result = VARIABLE.sub(value, node)
    if "$" in VARIABLE.sub("", node):
        raise ValueError(f"expected $$ or ${{NAME:...}}, got {node}")
    return result


def example(text):
    """Names of an example of .env: those that are set, and those behind a #; with the values that stand there."""
    lines = re.findall(r"^(#?)([A-Z][A-Z_0-9]*)=(.*)$", text, re.MULTILINE)
    given = {name: value for mark, name, value in lines if not mark}
    commented = {name: value for mark, name, value in lines if mark}
    assert len(lines) == len(given | commented), "expected each variable once"
    return given, commented
