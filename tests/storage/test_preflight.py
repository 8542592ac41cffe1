"""The check says what is wrong, stops where going on makes no sense, and leaves nothing in the bucket."""

import boto3
import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.families import Strategy
from clipfarm_tasks.stack.seaweed import REGION
from clipfarm_tasks.storage import open_store
from clipfarm_tasks.storage.preflight import check
from tests.faulty_s3 import FaultyS3, always, refuse

pytestmark = pytest.mark.integration

INPUTS = [keys.METADATA_CSV, *(keys.fused_manifest(strategy) for strategy in Strategy)]
PROBES = 8


@pytest.fixture
def behind(bucket, s3_server, s3_session):
    """The proxy, and the test's bucket behind it."""
    with FaultyS3(s3_server.endpoint_url) as proxy:
        patience = {"endpoint_url": proxy.endpoint_url, "retry_timeout_s": 0.0}
        yield proxy, open_store(bucket.model_copy(update=patience), s3_session)


def test_a_bucket_with_input_passes_and_keeps_no_probe(store):
    store.put_many((key, b"1") for key in INPUTS)
    findings = check(store)
    assert [finding.ok for finding in findings] == [True] * (PROBES + len(INPUTS))
    assert [finding.advice for finding in findings] == [""] * len(findings)
    assert [info.key for info in store.list("")] == sorted(INPUTS)


def test_every_missing_input_is_named(store):
    store.put(INPUTS[1], b"1")
    findings = check(store)
    assert [finding.ok for finding in findings] == [True] * PROBES + [False, True, False, False]
    for finding, key in zip(findings[PROBES:], INPUTS, strict=True):
        assert key in finding.what
        assert finding.ok or finding.advice == f"expected upstream's object at {store.uri(key)}, got none"


def test_wrong_bucket_is_the_only_finding(bucket, s3_session):
    [finding] = check(open_store(bucket.model_copy(update={"bucket": "no-such-bucket"}), s3_session))
    assert not finding.ok
    assert finding.what == "bucket no-such-bucket exists and can be listed"
    assert "expected bucket no-such-bucket to exist" in finding.advice
    assert "CLIPFARM_BUCKET" in finding.advice


def test_wrong_key_pair_is_the_only_finding(bucket, s3_server):
    session = boto3.Session(
        aws_access_key_id=s3_server.access_key, aws_secret_access_key="wrong" * 8, region_name=REGION
    )
    [finding] = check(open_store(bucket, session))
    assert not finding.ok
    assert "check the key pair (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY" in finding.advice


def test_no_server_is_the_only_finding(bucket, s3_session):
    down = bucket.model_copy(update={"endpoint_url": "http://127.0.0.1:9", "retry_timeout_s": 0.0})
    [finding] = check(open_store(down, s3_session))
    assert not finding.ok
    assert "expected an answer for s3://" in finding.advice


def test_a_key_pair_that_may_only_read(behind):
    proxy, store = behind
    proxy.rule = always(refuse(403, "AccessDenied"), lambda request: request.method == "PUT")
    findings = check(store)
    assert [(finding.what, finding.ok) for finding in findings[1:]] == [("write an object", False)]
    assert "expected permission for s3://" in findings[-1].advice


def test_a_server_that_ignores_if_none_match(behind, s3_server, store):
    """Such a server replaces the object and answers 200. Here the proxy does."""
    proxy, probed = behind

    def replace(exchange):
        sent = exchange.sent
        etag = s3_server.client().put_object(Bucket=store.bucket, Key=sent.key, Body=sent.body)["ETag"]
        exchange.answer(200, {"ETag": etag, "Content-Length": "0"}, b"")

    proxy.rule = always(replace, lambda request: "if-none-match" in request.headers)
    findings = check(probed)
    assert [finding.ok for finding in findings] == [True, True, False]
    assert "If-None-Match" in findings[-1].what
    assert "this server ignores If-None-Match" in findings[-1].advice
    assert store.list("") == []


def test_a_cache_in_between_that_answers_with_something_else(behind, store):
    proxy, probed = behind

    def stale(exchange):
        exchange.answer(200, {"ETag": '"0"', "Content-Length": "3"}, b"old")

    proxy.rule = always(stale, lambda request: request.method == "GET" and "/probe/" in request.target)
    findings = check(probed)
    assert [finding.ok for finding in findings] == [True, True, True, True, True, False]
    assert findings[-1].what == "read it back"
    assert "got b'old'" in findings[-1].advice
    assert store.list("") == []
