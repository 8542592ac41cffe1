"""A full temporary folder is told in a sentence, whoever writes to it."""

import errno
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.storage.temporary_disk import room_on_disk, temporary_folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_folder_wanted_and_free_bytes_are_named(folder, monkeypatch, code):
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 93, 7 if path == str(folder) else 0)
    )
    said = (
        rf"expected room on disk for 123 bytes of rows, got {os.strerror(code)!r} with 7 bytes free, in {folder}: set T"
    )
    with pytest.raises(ConfigError, match=re.escape(said)) as info, room_on_disk("rows", 123, ", or wait"):
        raise OSError(code, "?")
    assert str(info.value).endswith("set TMPDIR to a larger disk, or wait")


def test_other_errors_pass(folder):
    with pytest.raises(PermissionError), room_on_disk("rows"):
        raise PermissionError(errno.EACCES, "?")


def test_no_temporary_folder_at_all(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    said = r"expected a temporary folder .*, got No usable .*'/nowhere'.*: set TMPDIR"
    with pytest.raises(ConfigError, match=said), temporary_folder("rows"):
        pass


def test_nothing_stays_behind(folder):
    def fill():
        with temporary_folder("rows") as path:
            (path / "file").touch()
            Path("/dev/full").write_bytes(b"x")

    with pytest.raises(ConfigError, match="No space left"):
        fill()
    assert list(folder.iterdir()) == []
