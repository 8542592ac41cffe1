"""The environment a container's command runs in: what an image would set, then the pod's own variables."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.kubernetes.cluster_state import Object

ROOT = Path(__file__).resolve().parents[2]
Secrets = Mapping[str, Mapping[str, str]]


class MissingReferenceError(LookupError):
    """The pod refers to what does not exist; the kubelet then keeps its container waiting."""


def environment(pod: Object, container: Object, secrets: Secrets, folder: Path) -> dict[str, str]:
    """All variables of the process: nothing comes from the process that runs the tests.

    Raises:
        MissingReferenceError: a secret, a key of it, a config map (there are none) or a field is not there.
    """
    variables = image(folder)
    for source in container.get("envFrom", []):
        variables |= _from_source(source, secrets)
    for variable in container.get("env", []):
        value = _value(pod, variable, secrets)
        if value is not None:
            variables[variable["name"]] = value
    return variables


def image(folder: Path) -> dict[str, str]:
    """What the trainer's image would bring: this interpreter as ``python``, the repository to import from."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "HOME": str(folder),
        "TMPDIR": str(folder),
    }


def _from_source(source: Object, secrets: Secrets) -> dict[str, str]:
    prefix = source.get("prefix", "")
    if "secretRef" in source:
        reference = source["secretRef"]
        if reference["name"] in secrets:
            return {prefix + name: value for name, value in secrets[reference["name"]].items()}
        kind = "secret"
    else:
        reference, kind = source["configMapRef"], "configmap"
    if reference.get("optional"):
        return {}
    raise MissingReferenceError(f'{kind} "{reference["name"]}" not found')


def _value(pod: Object, variable: Object, secrets: Secrets) -> str | None:
    source = variable.get("valueFrom")
    if source is None:
        return variable.get("value", "")
    if "secretKeyRef" in source:
        reference = source["secretKeyRef"]
        value = secrets.get(reference["name"], {}).get(reference["key"])
        if value is None and not reference.get("optional"):
            raise MissingReferenceError(f'secret "{reference["name"]}" with key {reference["key"]} not found')
        return value
    if "fieldRef" in source:
        return str(_field(pod, source["fieldRef"]["fieldPath"]))
    raise MissingReferenceError(f"env {variable['name']}: expected a secretKeyRef or fieldRef, got {sorted(source)}")


def _field(pod: Object, path: str) -> Any:
    found: Any = pod
    head, _, key = path.partition("['")
    for name in head.split("."):
        found = found.get(name, {})
    if key:
        found = found.get(key.removesuffix("']"), "")
    if isinstance(found, dict):
        raise MissingReferenceError(f"field {path} not found")
    return found
