"""A file with a secret: readable by this user only from the moment it exists."""

import os
from pathlib import Path


def write_private(path: Path, content: str) -> Path:
    """Write ``content`` to a new file of mode 0600 in the place of whatever is there; returns ``path``."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
    return path
