"""Files that go up: streamed, whole or not at all, and known by their digest."""

import hashlib
import random

import pytest

from clipfarm_tasks.errors import MissingObjectError, TransientError
from clipfarm_tasks.storage import open_store
from tests.faulty_s3 import FaultyS3, always, first, lose_answer, of, refuse, reset

pytestmark = pytest.mark.integration

SIZES = {"empty": 0, "small": 3_200, "several parts": 40_000_000}


@pytest.fixture
def proxy(s3_server):
    with FaultyS3(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def behind(proxy, bucket, s3_session):
    def connect(**settings):
        return open_store(bucket.model_copy(update={"endpoint_url": proxy.endpoint_url} | settings), s3_session)

    return connect


@pytest.fixture
def file(tmp_path):
    def write(size):
        path = tmp_path / "file"
        path.write_bytes(random.Random(size).randbytes(size))
        return path

    return write


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_file_of_any_size_arrives_and_its_digest_is_told(proxy, behind, store, file, size):
    path = file(size)
    store.put("y", b"replaced")
    assert behind().upload("y", path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert store.get("y") == path.read_bytes()
    parts = [len(request.body) for request in proxy.log if request.method == "PUT"]
    assert sum(parts) == size
    assert len(parts) == (3 if size > 16 * 2**20 else 1)


@pytest.mark.parametrize("fault", [refuse(503, "SlowDown"), reset, lose_answer], ids=["503", "reset", "lost answer"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_fault_in_any_request_of_an_upload_is_retried(proxy, behind, store, file, fault, method):
    """POST begins an upload in parts and completes it; PUT carries a part."""
    path = file(SIZES["several parts"])
    uploading = behind()
    for skip in range(2):
        proxy.rule = first(1, fault, of(method), skip=skip)
        assert uploading.upload("y", path) == hashlib.sha256(path.read_bytes()).hexdigest()
        assert uploading.retries == skip + 1
        assert store.get("y") == path.read_bytes()


def test_an_upload_that_fails_for_good_shows_nothing(proxy, behind, store, file):
    path = file(SIZES["several parts"])
    proxy.rule = always(refuse(503, "SlowDown"), lambda request: request.query.get("partNumber") == "2")
    with pytest.raises(TransientError, match=rf"expected an answer for s3://{store.bucket}/y"):
        behind(retry_timeout_s=0.0).upload("y", path)
    assert store.head("y") is None
    assert store.list("") == []


def test_a_local_file_that_does_not_exist_is_not_a_missing_object(store, tmp_path):
    with pytest.raises(FileNotFoundError, match="no-file") as raised:
        store.upload("y", tmp_path / "no-file")
    assert not isinstance(raised.value, MissingObjectError)
