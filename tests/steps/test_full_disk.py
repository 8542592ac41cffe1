"""Every task that writes to the temporary folder says in a sentence that it is full."""

import resource
import tempfile
from contextlib import contextmanager

import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import DEFAULT_FAMILIES, Family, Horizon, Strategy
from clipfarm_tasks.storage import Store

PAIR = (Strategy.CONCAT, Horizon.D7)


def fill():
    """Fill the disk for this process: no file may grow beyond 100 bytes, which fails as a full disk does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@contextmanager
def told(what, *, after_download=False):
    """The disk is full inside, at once or as soon as something was downloaded, and the error says so."""
    download, before = Store.download, resource.getrlimit(resource.RLIMIT_FSIZE)

    def then_fill(*args, **options):
        size = download(*args, **options)
        fill()
        return size

    said = rf"expected room on disk for {what}.*, got .* free, in {tempfile.gettempdir()}: "
    with pytest.MonkeyPatch.context() as patch:
        if after_download:
            patch.setattr(Store, "download", then_fill)
        else:
            fill()
        try:
            with pytest.raises(ConfigError, match=said):
                yield
        finally:  # before pytest writes a line: its output may be a file
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def resolved(upstream, run):
    upstream.upload()
    run.resolve(strategies=[PAIR[0]], horizons=[PAIR[1]], models=DEFAULT_FAMILIES)
    return run


def test_download_of_the_csv(resolved, store):
    size = store.head(keys.METADATA_CSV).size
    with told(rf"{size} bytes of s3://.*\.csv"):
        resolved.step("scan_metadata")


def test_scanned_rows(resolved, store):
    size = store.head(keys.METADATA_CSV).size
    with told(f"{size} bytes of typed metadata beside the CSV", after_download=True):
        resolved.step("scan_metadata")


def test_download_of_the_scanned_rows(resolved):
    scanned = resolved.step("scan_metadata").horizons[Horizon.D7]
    with told(rf"{scanned.size} bytes of s3://.*\.parquet"):
        resolved.step("filter_metadata", horizon=Horizon.D7)


def test_filtered_rows(resolved):
    scanned = resolved.step("scan_metadata").horizons[Horizon.D7]
    with told(f"{scanned.size} bytes of labelled rows beside the scanned ones", after_download=True):
        resolved.step("filter_metadata", horizon=Horizon.D7)


@pytest.mark.parametrize("family", DEFAULT_FAMILIES)
def test_snapshot_of_a_job(resolved, family):
    resolved.splits()
    with told("a snapshot"):
        resolved.step("train", *PAIR, family)


def test_snapshot_of_a_pair(upstream, run):
    upstream.upload()
    run.resolve(strategies=[PAIR[0]], horizons=[PAIR[1]], models=[Family.RIDGE])
    run.jobs()
    with told("a snapshot"):
        run.step("publish_snapshot", *PAIR)


def test_vectors_on_their_way_into_a_table(resolved):
    resolved.step("resolve_manifest", Strategy.CONCAT)
    with told("rows of a vector table"):
        resolved.step("reconstruct_fused", Strategy.CONCAT)
