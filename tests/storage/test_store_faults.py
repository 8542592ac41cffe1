"""What goes wrong between us and S3: what heals is retried and counted, what does not is told at once with advice."""

import hashlib
import random

import boto3
import pytest

from clipfarm_tasks.errors import ConfigError, MissingObjectError, TransientError
from clipfarm_tasks.stack.seaweed import REGION
from clipfarm_tasks.storage import ObjectInfo, open_store
from tests.faulty_s3 import FaultyS3, always, at_random, cut, first, lose_answer, of, refuse, reset, stall

pytestmark = pytest.mark.integration

BODY = bytes(range(256)) * 400
LISTED = ObjectInfo("x", len(BODY), f'"{hashlib.md5(BODY, usedforsecurity=False).hexdigest()}"')
# Every call of the store, and the method of the request by which it reads or writes.
CALLS = {
    "get": ("GET", lambda store, folder: store.get("x") == BODY),
    "get_many": ("GET", lambda store, folder: [f.body for _, f in store.get_many(["x"])] == [BODY]),
    "get_listed": ("GET", lambda store, folder: [f.body for _, f in store.get_listed([LISTED])] == [BODY]),
    "download": ("GET", lambda store, folder: downloaded(store, folder) == BODY),
    "list": ("GET", lambda store, folder: [info.size for info in store.list("")] == [len(BODY)]),
    "check_bucket": ("GET", lambda store, folder: store.check_bucket() is None),
    "head": ("HEAD", lambda store, folder: store.head("x").size == len(BODY)),
    "head_many": ("HEAD", lambda store, folder: store.head_many(["x"])["x"].size == len(BODY)),
    "put": ("PUT", lambda store, folder: store.put("y", BODY) and store.get("y") == BODY),
    "put_many": ("PUT", lambda store, folder: store.put_many([("y", BODY)]) == 1 and store.get("y") == BODY),
    "upload": ("PUT", lambda store, folder: uploaded(store, folder) and store.get("y") == BODY),
    "create": ("PUT", lambda store, folder: store.create("y", BODY) and store.get("y") == BODY),
    "swap": ("PUT", lambda store, folder: store.swap("x", b"y", LISTED.etag) and store.get("x") == b"y"),
    "copy": ("PUT", lambda store, folder: store.copy("x", "y") is None and store.get("y") == BODY),
    "delete": ("POST", lambda store, folder: store.delete(["x"]) is None and store.head("x") is None),
}
HEALING = {
    "503 SlowDown": refuse(503, "SlowDown"),
    "500": refuse(500, "InternalError"),
    "429": refuse(429, "TooManyRequests"),
    "408": refuse(408, "RequestTimeout"),
    "409": refuse(409, "ConditionalRequestConflict"),
    "400 RequestTimeout": refuse(400, "RequestTimeout"),
    "reset": reset,
    "lost answer": lose_answer,
    "stall": stall(5),
}
# With one that is silent, a store waits this long and not longer; a slow machine needs more for an answer.
IMPATIENT = {"stall": {"request_timeout_s": 0.5}}
IN_BODY = {"reset": cut(reset=True), "truncated": cut(reset=False), "stall": stall(5, in_body=True)}
# The call in the table writes before it downloads.
AT_ONCE = [name for name in CALLS if name != "download"]
READING = ["get", "get_many", "get_listed", "download", "list", "check_bucket"]


def downloaded(store, folder):
    # What a longer earlier attempt left must not stay behind the end.
    (folder / "file").write_bytes(b"older and longer" * len(BODY))
    assert store.download("x", folder / "file", store.put("x", BODY)) == len(BODY)
    return (folder / "file").read_bytes()


def uploaded(store, folder):
    (folder / "source").write_bytes(BODY)
    return store.upload("y", folder / "source")


@pytest.fixture
def proxy(s3_server):
    with FaultyS3(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def faulty(proxy, bucket, s3_session):
    """Open the test's bucket behind the proxy, with other settings or another session."""

    def connect(session=s3_session, **settings):
        patience = {"endpoint_url": proxy.endpoint_url, "request_timeout_s": 60.0, "retry_timeout_s": 60.0}
        return open_store(bucket.model_copy(update=patience | settings), session)

    connect().put("x", BODY)
    proxy.log.clear()
    return connect


@pytest.mark.parametrize("fault", HEALING)
def test_a_fault_that_passes_is_retried_and_counted(proxy, faulty, tmp_path, fault):
    for method, call in CALLS.values():
        store = faulty(**IMPATIENT.get(fault, {}))
        proxy.rule = first(1, HEALING[fault], of(method))
        if not (method == "HEAD" and fault == "400 RequestTimeout"):  # without a body nothing tells it from a 400
            assert call(store, tmp_path)
            assert store.retries == 1
        proxy.rule = None
        store.put("x", BODY)
        store.delete(["y"])


@pytest.mark.parametrize("fault", IN_BODY)
def test_a_body_that_breaks_off_is_read_again_from_the_start(proxy, faulty, tmp_path, fault):
    for name in READING:
        store = faulty(**IMPATIENT.get(fault, {}))
        proxy.rule = first(2, IN_BODY[fault], of("GET"))
        assert CALLS[name][1](store, tmp_path)
        assert store.retries == 2


@pytest.mark.parametrize("fault", ["reset", "truncated"])
def test_a_download_that_breaks_off_after_some_chunks_starts_with_an_empty_file(proxy, faulty, tmp_path, fault):
    """Larger than the 10 MiB that obstore hands over at a time: the first half was written when it broke off."""
    body = random.Random(0).randbytes(25_000_000)
    store = faulty()
    etag = store.put("large", body)
    proxy.rule = first(1, IN_BODY[fault], of("GET"))
    assert store.download("large", tmp_path / "file", etag) == len(body)
    assert store.retries == 1
    assert (tmp_path / "file").read_bytes() == body


@pytest.mark.parametrize("fault", ["503 SlowDown", "500", "reset"])
def test_a_fault_that_stays_is_transient_and_names_the_object(proxy, faulty, tmp_path, fault):
    for name, (method, call) in CALLS.items():
        store = faulty(retry_timeout_s=0.0)
        proxy.rule = always(HEALING[fault], of(method))
        with pytest.raises(TransientError, match=rf"expected an answer for s3://{store.bucket}/.*, got none") as raised:
            call(store, tmp_path)
        if name not in {"list", "check_bucket"}:
            assert f"s3://{store.bucket}/{'y' if name in {'put', 'put_many', 'upload', 'create'} else 'x'}," in str(
                raised.value
            )
        proxy.rule = None


@pytest.mark.parametrize("fault", IN_BODY)
def test_a_body_that_always_breaks_off_is_never_taken_for_the_object(proxy, faulty, tmp_path, fault):
    store = faulty(retry_timeout_s=0.0, **IMPATIENT.get(fault, {}))
    proxy.rule = always(IN_BODY[fault], of("GET"))
    for name in ("get", "get_many", "get_listed", "download", "list"):
        with pytest.raises(TransientError, match=rf"s3://{store.bucket}/"):
            CALLS[name][1](store, tmp_path)


def test_retries_stop_after_the_time_that_is_set(proxy, faulty):
    store = faulty(retry_timeout_s=0.6)
    proxy.rule = always(refuse(503, "SlowDown"))
    with pytest.raises(TransientError, match="SlowDown"):
        store.get("x")
    assert store.retries == len(proxy.log) - 1 > 1


def test_no_server_is_transient_after_the_time_that_is_set(faulty, closed_port):
    store = faulty(endpoint_url=f"http://127.0.0.1:{closed_port}", retry_timeout_s=0.3)
    for call in (store.check_bucket, lambda: store.get("x"), lambda: list(store.get_many(["x"]))):
        with pytest.raises(TransientError, match=r"expected an answer for s3://"):
            call()
    assert store.retries >= 3


def test_a_store_heals_when_the_server_comes_back(proxy, faulty):
    store = faulty()
    answers = []
    proxy.rule = lambda request: answers.append(request) or (reset if len(answers) <= 4 else None)
    assert store.get("x") == BODY
    assert store.retries == 4


def test_wrong_bucket_is_told_at_once(proxy, faulty, tmp_path):
    store = faulty(bucket="no-such-bucket")
    for name in AT_ONCE:
        proxy.log.clear()
        with pytest.raises(
            ConfigError, match=r"expected bucket no-such-bucket to exist at http.*: check CLIPFARM_BUCKE"
        ):
            CALLS[name][1](store, tmp_path)
        # A HEAD cannot tell a missing bucket from a missing object, nor a refused swap: a second request does.
        assert len(proxy.log) == (2 if name in {"head", "head_many", "swap"} else 1)
    assert store.retries == 0


@pytest.mark.parametrize("pair", ["unknown id", "wrong secret"])
def test_wrong_key_pair_is_told_at_once(proxy, faulty, s3_server, tmp_path, pair):
    key_id = "unknown" if pair == "unknown id" else s3_server.access_key
    store = faulty(boto3.Session(aws_access_key_id=key_id, aws_secret_access_key="wrong" * 8, region_name=REGION))
    for name in AT_ONCE:
        proxy.log.clear()
        with pytest.raises(
            ConfigError, match=r"expected permission for s3://.*got refused: .*check the key pair \(AWS_ACCESS_KEY_ID"
        ):
            CALLS[name][1](store, tmp_path)
        assert len(proxy.log) == 1
    assert store.retries == 0


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (403, "AccessDenied", "expected permission for s3://.*check the key pair"),
        (401, "Unauthorized", "expected permission for s3://.*check the key pair"),
        (400, "AuthorizationHeaderMalformed", "check region and endpoint"),
        (301, "PermanentRedirect", "check region and endpoint"),
        (405, "MethodNotAllowed", "check region and endpoint"),
    ],
)
def test_a_refusal_is_never_retried(proxy, faulty, tmp_path, status, code, sentence):
    for method, call in CALLS.values():
        store = faulty()
        proxy.rule = always(refuse(status, code), of(method))
        proxy.log.clear()
        with pytest.raises(ConfigError, match=sentence):
            call(store, tmp_path)
        assert [request.method for request in proxy.log].count(method) == 1
        assert store.retries == 0
        proxy.rule = None


@pytest.mark.parametrize(
    ("status", "code", "kind", "advice"),
    [
        (403, "RequestTimeTooSkewed", ConfigError, "clock"),
        (403, "InvalidAccessKeyId", ConfigError, "does not know the key id"),
        (403, "SignatureDoesNotMatch", ConfigError, "does not belong to the key id"),
        (400, "InvalidBucketName", ConfigError, "check CLIPFARM_BUCKET"),
        (400, "ExpiredToken", TransientError, "renew it"),
        (503, "SlowDown", TransientError, "CLIPFARM_S3_CONCURRENCY"),
    ],
)
def test_the_code_of_s3_and_fitting_advice_are_in_the_message(proxy, faulty, status, code, kind, advice):
    store = faulty(retry_timeout_s=0.0)
    proxy.rule = always(refuse(status, code))
    long = "a/long/key" * 40
    with pytest.raises(kind, match=rf"{code} \(by the proxy\); .*{advice}"):
        store.get(long)


def test_the_cause_of_no_answer_is_in_the_message(faulty, closed_port):
    store = faulty(endpoint_url=f"http://127.0.0.1:{closed_port}", retry_timeout_s=0.0)
    with pytest.raises(TransientError, match="Connection refused; no server listens there: check AWS_ENDPOINT_URL"):
        store.get("x")
    store = faulty(endpoint_url="http://no-such-host.invalid", retry_timeout_s=0.0)
    with pytest.raises(TransientError, match="the name of the server cannot be resolved"):
        store.get("x")


def test_create_whose_answer_was_lost_knows_its_own_object(proxy, faulty):
    store = faulty()
    proxy.rule = first(1, lose_answer, of("PUT"))
    assert store.create("y", b"mine") is True
    assert store.get("y") == b"mine"
    proxy.rule = first(1, lose_answer, of("PUT"))
    assert store.create("y", b"another") is False
    assert store.get("y") == b"mine"


def test_an_object_is_missing_only_when_the_server_says_so(proxy, faulty):
    """A failure must not shrink the data: 503 and resets on half of the reads, and exactly the missing are None."""
    store = faulty()
    store.put_many((f"k{number}", str(number).encode()) for number in range(0, 120, 2))
    proxy.rule = at_random(7, 0.25, [refuse(503, "SlowDown"), refuse(500, "InternalError"), reset, cut(reset=True)])
    found = dict(store.get_many([f"k{number}" for number in range(120)], concurrency=16))
    assert found.keys() == {f"k{number}" for number in range(120)}
    for number in range(120):
        fetched = found[f"k{number}"]
        assert fetched is None if number % 2 else fetched.body == str(number).encode()
    assert store.retries > 20


def test_one_object_that_fails_ends_get_many_as_transient(proxy, faulty):
    store = faulty(retry_timeout_s=0.0)
    store.put_many((f"k{number}", b"1") for number in range(30))
    proxy.rule = always(refuse(503, "SlowDown"), lambda request: request.key == "k17")
    with pytest.raises(TransientError, match=rf"s3://{store.bucket}/k17"):
        list(store.get_many([f"k{number}" for number in range(30)], concurrency=4))


def test_an_object_deleted_while_a_body_broke_off_is_missing_and_not_half(proxy, faulty, s3_server):
    store = faulty()

    def cut_and_delete(exchange):
        cut(reset=True)(exchange)
        s3_server.client().delete_object(Bucket=store.bucket, Key="x")

    proxy.rule = first(1, cut_and_delete, of("GET"))
    with pytest.raises(MissingObjectError, match=r"got none$"):
        store.get("x")


@pytest.fixture
def closed_port():
    import socket

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]
