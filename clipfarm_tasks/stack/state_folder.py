"""The ignored folder that holds everything the local stack writes, used by one command at a time."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipfarm_tasks.stack.errors import StackError

STATE = Path(".clipfarm")


@contextmanager
def claimed(folder: Path, *, fresh: bool) -> Iterator[Path]:
    """Hold ``folder`` for this process; ``fresh`` empties it first.

    Raises:
        StackError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StackError(f"expected no other process in {folder.resolve()}, got one that still runs") from error
        if fresh:
            empty(folder)
        yield folder.resolve()


def empty(folder: Path) -> None:
    """Remove everything in a claimed folder; the claim stays."""
    for item in folder.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        elif item.name != "lock":
            item.unlink()
