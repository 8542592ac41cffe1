import io

import pytest
from rich.console import Console

from bench import buckets
from clipfarm_tasks.errors import DataError

LOADER = """
from clipfarm_tasks.config import Settings
from clipfarm_tasks.sample.write import write_sample
from clipfarm_tasks.storage import open_store

write_sample(open_store(Settings.from_environment()), videos=37, width=4)
"""


@pytest.fixture
def loader(tmp_path, monkeypatch, repository):
    path = tmp_path / "load.py"
    monkeypatch.setattr(buckets, "_LOADER", path)
    monkeypatch.setenv("PYTHONPATH", str(repository))
    return path


@pytest.fixture
def filled(s3_server, monkeypatch):
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    yield buckets.Buckets(s3_server, Console(file=io.StringIO()))
    s3_server.client().delete_bucket(Bucket="real")


def test_the_label_of_the_real_set_counts_its_videos(filled, loader):
    loader.write_text(LOADER)
    assert filled.real().label == "37 real videos"


def test_a_loader_that_fails_is_quoted(filled, loader):
    loader.write_text("raise SystemExit('no disk')")
    with pytest.raises(DataError, match="expected load.py to fill the bucket, got exit code 1: no disk"):
        filled.real()


def test_without_a_loader_there_is_no_real_set(s3_server, loader):
    assert buckets.Buckets(s3_server, Console()).real() is None
