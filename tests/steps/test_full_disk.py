"""Every task that writes to the temporary folder says in a sentence that it is full."""

import resource
import tempfile
from contextlib import contextmanager

import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import Family, Horizon, Strategy
from clipfarm_tasks.storage import Store

PAIR = (Strategy.CONCAT, Horizon.D7)


@pytest.fixture
def full():
    """Makes the disk full for this process: no file may grow beyond 100 bytes, which fails as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def full_after_download(full, monkeypatch):
    download = Store.download

    def then_full(*args, **options):
        size = download(*args, **options)
        full()
        return size

    monkeypatch.setattr(Store, "download", then_full)


@contextmanager
def told(what):
    with pytest.raises(
        ConfigError, match=rf"expected room on disk for {what}.*, got .* free, in {tempfile.gettempdir()}: "
    ):
        yield


@pytest.fixture
def resolved(upstream, run):
    upstream.upload()
    run.resolve(strategies=[PAIR[0]], horizons=[PAIR[1]], models=list(Family))
    return run


def test_download_of_the_csv(resolved, store, full):
    full()
    with told(rf"{store.head(keys.METADATA_CSV).size} bytes of s3://.*\.csv"):
        resolved.step("scan_metadata")


@pytest.mark.usefixtures("full_after_download")
def test_scanned_rows(resolved, store):
    with told(f"{store.head(keys.METADATA_CSV).size} bytes of typed metadata beside the CSV"):
        resolved.step("scan_metadata")


def test_download_of_the_scanned_rows(resolved, full):
    scanned = resolved.step("scan_metadata").horizons[Horizon.D7]
    full()
    with told(rf"{scanned.size} bytes of s3://.*\.parquet"):
        resolved.step("filter_metadata", horizon=Horizon.D7)


def test_filtered_rows(resolved, request):
    scanned = resolved.step("scan_metadata").horizons[Horizon.D7]
    request.getfixturevalue("full_after_download")
    with told(f"{scanned.size} bytes of labelled rows beside the scanned ones"):
        resolved.step("filter_metadata", horizon=Horizon.D7)


@pytest.mark.parametrize("family", Family)
def test_snapshot_of_a_job(resolved, full, family):
    resolved.splits()
    full()
    with told("a snapshot"):
        resolved.step("train", *PAIR, family)


def test_snapshot_of_a_pair(upstream, run, full):
    upstream.upload()
    run.resolve(strategies=[PAIR[0]], horizons=[PAIR[1]], models=[Family.RIDGE])
    run.jobs()
    full()
    with told("a snapshot"):
        run.step("publish_snapshot", *PAIR)


def test_vectors_on_their_way_into_a_table(resolved, full):
    resolved.step("resolve_manifest", Strategy.CONCAT)
    full()
    with told("rows of a vector table"):
        resolved.step("reconstruct_fused", Strategy.CONCAT)
