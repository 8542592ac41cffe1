import errno
import gc
import os
import tempfile

import numpy as np
import pytest

from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.vectors.memory_or_disk import MemoryOrDisk

ONE_MIB = (256, 1024)  # of float32


def test_arrays_are_in_memory_until_their_sum_exceeds_the_limit():
    allocate = MemoryOrDisk(2)
    arrays = [
        allocate(name, shape) for name, shape in (("a", ONE_MIB), ("b", (512, 1024)), ("c", ONE_MIB), ("d", (1, 1)))
    ]
    assert [isinstance(array, np.memmap) for array in arrays] == [False, True, False, True]
    assert [array.shape for array in arrays] == [ONE_MIB, (512, 1024), ONE_MIB, (1, 1)]
    assert {array.dtype for array in arrays} == {np.dtype("f4")}


def test_mapped_array_keeps_what_is_written_and_leaves_no_file_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    array = MemoryOrDisk(0)("text", ONE_MIB)
    array[:] = np.arange(array.size, dtype="f4").reshape(ONE_MIB)
    assert list(tmp_path.iterdir()) == []  # not even while it is used: a killed process leaves nothing either
    view = array[100:]
    del array
    gc.collect()
    assert view[-1, -1] == 256 * 1024 - 1


def test_disk_without_room_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    said = rf"{2**20} bytes of the vectors 'text', got 'No space left .*, in {tmp_path}: .*CLIPFARM_TRAIN_MEMORY_MIB"
    with pytest.raises(ConfigError, match=said):
        MemoryOrDisk(0)("text", ONE_MIB)
