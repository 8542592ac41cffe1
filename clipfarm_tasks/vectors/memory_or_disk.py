"""Where the vectors of a training job live: in memory up to a limit, the others in memory-mapped files."""

import math
import os
import tempfile

import numpy as np
from numpy.typing import NDArray

from clipfarm_tasks.storage.temporary_disk import room_on_disk

_MIB = 2**20


class MemoryOrDisk:
    """Gives out float32 arrays to be filled in place; what it is asked for adds up."""

    def __init__(self, limit_mib: int) -> None:
        """Nothing is allocated yet.

        Args:
            limit_mib: MiB to hold in memory; 0 maps every array from a file.
        """
        self._left = limit_mib * _MIB

    def __call__(self, name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
        """An uninitialised (N, D) array: `numpy.empty` while the limit lasts, then a `numpy.memmap`.

        Raises:
            ConfigError: the temporary folder has no room for it.
        """
        size = math.prod(shape) * np.dtype(np.float32).itemsize
        if size <= self._left:
            self._left -= size
            return np.empty(shape, dtype=np.float32)
        # The file has no name: its space is freed with the array, and also when the process is killed.
        advice = ", or raise CLIPFARM_TRAIN_MEMORY_MIB"
        with room_on_disk(f"the vectors {name!r}", size, advice), tempfile.TemporaryFile(prefix="clipfarm-") as file:
            # Reserved now: writing to a mapped page that the disk has no room for would kill the process.
            os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype=np.float32, mode="r+", shape=shape)
