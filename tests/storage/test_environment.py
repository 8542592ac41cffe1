"""The process's environment: what the S3 libraries would read in it by themselves decides nothing."""

import ast
import os
from pathlib import Path

import boto3
import numpy as np
import obstore
import pyarrow as pa
import pytest

from clipfarm_tasks.config import Settings
from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.stack.seaweed import REGION
from clipfarm_tasks.storage import open_store
from clipfarm_tasks.storage.environment import never_proxy_loopback, trust
from clipfarm_tasks.vectors.table import VectorTable, vectors

pytestmark = pytest.mark.integration


def settings_of_the_library():
    """Names of all settings of an S3 client of obstore, from its type stubs: a new one is noticed here."""
    stubs = Path(obstore.__file__).parent / "_store"
    found = set()
    for file, name in (("_aws.pyi", "S3Config"), ("_client.pyi", "ClientConfig")):
        (config,) = (
            node
            for node in ast.parse((stubs / file).read_text()).body
            if isinstance(node, ast.ClassDef) and node.name == name
        )
        found |= {node.target.id.removeprefix("aws_") for node in config.body if isinstance(node, ast.AnnAssign)}
    return found


@pytest.fixture
def environ(monkeypatch):
    """The process's environment, as it was before afterwards."""
    before = dict(os.environ)
    yield os.environ
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def works(store):
    """Whether objects and a vector table can be written and read."""
    rows = pa.table({"video_id": ["a"], "vector": vectors(np.ones((1, 4), np.float32))})
    table = VectorTable(store, "clipfarm/vectors/test.lance")
    version = table.merge(rows)
    read = table.read(["vector"], np.array(["a"], dtype=object), version)["vector"]
    assert (read == 1).all()
    assert store.create("key", b"1")
    assert not store.create("key", b"2")
    assert store.get("key") == b"1"
    store.delete(["key"])


@pytest.mark.parametrize("form", ["AWS_{}", "{}", "aws_{}"])
def test_no_variable_beats_what_the_store_is_told(bucket, s3_session, environ, form):
    names = settings_of_the_library()
    assert len(names) > 50
    assert {"s3_express", "conditional_put", "skip_signature", "checksum_algorithm", "proxy_url", "timeout"} <= names
    values = {
        "endpoint": "http://127.0.0.1:9",
        "endpoint_url_s3": "http://127.0.0.1:9",
        "endpoint_url": "http://[::1]:9",
    }
    harmful = dict.fromkeys(names, "harmful") | values
    for name, value in harmful.items():
        environ[form.format(name if form.islower() else name.upper())] = value
    works(open_store(bucket, s3_session))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_S3_EXPRESS", "true"),
        ("AWS_SKIP_SIGNATURE", "true"),
        ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true"),
        ("AWS_CONDITIONAL_PUT", "disabled"),
        ("AWS_CHECKSUM_ALGORITHM", "nonsense"),
        ("AWS_SERVER_SIDE_ENCRYPTION", "aws:kms"),
        ("AWS_PROXY_URL", "http://127.0.0.1:9"),
        ("AWS_TIMEOUT", "1ms"),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9"),
        ("TIMEOUT", "1ms"),
        ("USER_AGENT", "line\nend"),
    ],
)
def test_a_variable_with_a_plausible_value(bucket, s3_session, environ, name, value):
    environ[name] = value
    works(open_store(bucket, s3_session))


def test_ignored_variables_are_named_once(bucket, s3_session, environ, caplog):
    environ |= {"AWS_S3_EXPRESS": "true", "AWS_ALLOW_HTTP": "false"}
    open_store(bucket, s3_session)
    open_store(bucket, s3_session)
    assert [record.args for record in caplog.records] == [("AWS_ALLOW_HTTP, AWS_S3_EXPRESS",)]


def test_a_session_token_stays_with_its_own_key_pair(bucket, s3_session, environ, caplog):
    environ |= {"AWS_ACCESS_KEY_ID": "own", "AWS_SECRET_ACCESS_KEY": "own", "AWS_SESSION_TOKEN": "own"}
    assert open_store(bucket).lance_options()["aws_session_token"] == "own"
    ignored = "ignored AWS_SESSION_TOKEN: it belongs to another key pair"
    assert ignored not in caplog.text
    works(open_store(bucket, s3_session))
    assert caplog.text.count(ignored) == 1


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_loopback_is_never_proxied(bucket, s3_session, environ, variable):
    environ |= {variable: "http://127.0.0.1:9"}
    for name in ("NO_PROXY", "no_proxy"):
        environ.pop(name, None)
    works(open_store(bucket, s3_session))


def test_what_was_excluded_from_the_proxy_stays_so(environ):
    environ |= {"HTTPS_PROXY": "http://proxy:1", "no_proxy": ".corp, 10.0.0.1", "NO_PROXY": "elsewhere"}
    never_proxy_loopback("http://127.0.0.7:1")
    assert environ["no_proxy"] == environ["NO_PROXY"]
    assert environ["no_proxy"].split(",") == [
        *(".corp", "10.0.0.1", "elsewhere", "localhost", "127.0.0.1", "::1", "127.0.0.7")
    ]


def test_without_a_proxy_nothing_is_excluded(environ):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        environ.pop(name, None)
        environ.pop(name.lower(), None)
    never_proxy_loopback("http://127.0.0.1:1")
    assert "NO_PROXY" not in environ


def test_profile_tells_endpoint_and_region(s3_server, bucket, environ, tmp_path):
    config = tmp_path / "config"
    config.write_text(
        f"[profile p]\nregion = {REGION}\nservices = here\naws_access_key_id = {s3_server.access_key}\n"
        f"aws_secret_access_key = {s3_server.secret_key}\n[services here]\ns3 =\n"
        f"  endpoint_url = {s3_server.endpoint_url}\n"
    )
    environ |= {"AWS_CONFIG_FILE": str(config), "AWS_PROFILE": "p"}
    store = open_store(Settings(bucket=bucket.bucket))
    assert (store.settings.endpoint_url, store.settings.region) == (s3_server.endpoint_url, REGION)
    works(store)
    explicit = open_store(Settings(bucket="b", endpoint_url="http://127.0.0.1:9", region="eu-west-3"))
    assert (explicit.settings.endpoint_url, explicit.settings.region) == ("http://127.0.0.1:9", "eu-west-3")


@pytest.mark.parametrize("around", ["{}\n", " {}", "{}\r\n", "\t{} "])
def test_blanks_around_a_key_pair_are_no_part_of_it(s3_server, bucket, around):
    works(
        open_store(
            bucket,
            boto3.Session(
                aws_access_key_id=around.format(s3_server.access_key),
                aws_secret_access_key=around.format(s3_server.secret_key),
            ),
        )
    )


@pytest.mark.parametrize("part", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
@pytest.mark.parametrize("wrong", ["in\nside", "in side", "schlüssel", "\x00x"])
def test_what_no_header_can_hold_is_refused_by_name_and_not_shown(bucket, part, wrong):
    session = boto3.Session(**({"aws_access_key_id": "a", "aws_secret_access_key": "b"} | {part.lower(): wrong}))
    with pytest.raises(ConfigError, match=rf"expected printable ASCII characters as {part} for s3://") as raised:
        open_store(bucket, session)
    assert wrong not in str(raised.value)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bundle_that_is_none_is_told(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"expected a file of CA certificates in PEM format \(AWS_CA_BUNDLE"):
        trust(str(path))
