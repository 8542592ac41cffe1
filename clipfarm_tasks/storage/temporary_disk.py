"""Room in the temporary folder; when it runs out, the message names the folder, what was wanted and what is free."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipfarm_tasks.errors import ConfigError

# A full disk, a full quota, and a file that may not grow any further.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def temporary_folder(what: str, wanted: int | None = None) -> Iterator[Path]:
    """A new folder for the length of a ``with`` block, in which `room_on_disk` explains a full disk."""
    with room_on_disk(what, wanted), tempfile.TemporaryDirectory(prefix="clipfarm-") as folder:
        yield Path(folder)


@contextmanager
def room_on_disk(what: str, wanted: int | None = None, advice: str = "") -> Iterator[None]:
    """Explain the errors of a full disk that a ``with`` block meets while it writes to the temporary folder.

    Args:
        what: what is written, for the message.
        wanted: its bytes, where they are known.
        advice: what else than a larger disk would help, for the message.

    Raises:
        ConfigError: the temporary folder has no room, or there is none that can be written to. Not transient: as long
            as nobody gives the task a larger disk, it fills the same one again.
    """
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError as error:  # Python has tried to write to every folder that it knows of
        raise ConfigError(
            f"expected a temporary folder that can be written to, got {error.strerror}: set TMPDIR"
        ) from error
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        size = "" if wanted is None else f"{wanted} bytes of "
        raise ConfigError(
            f"expected room on disk for {size}{what}, got {os.strerror(error.errno)!r} with "
            f"{shutil.disk_usage(folder).free} bytes free, in {folder}: set TMPDIR to a larger disk{advice}"
        ) from error
