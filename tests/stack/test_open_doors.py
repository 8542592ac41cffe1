"""Every port and socket of the S3 server, tried without credentials: data goes in and out through signed S3 alone."""

import re
import stat
from pathlib import Path

import grpc
import httpx
import pytest

KEY, BODY = "doors/secret", b"only for who has the key pair"
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")
LOOKUP = "/filer_pb.SeaweedFiler/LookupDirectoryEntry"
ASSIGN = "/master_pb.Seaweed/Assign"
# What reads, writes, deletes or lets in, by the server that has it; an empty message is a valid one.
CALLS = {
    "filer.port.grpc": [
        LOOKUP,
        "/filer_pb.SeaweedFiler/DeleteEntry",
        "/iam_pb.SeaweedIdentityAccessManagement/ListUsers",
    ],
    "master.port.grpc": [ASSIGN, "/master_pb.Seaweed/CollectionDelete"],
    "s3.port.grpc": ["/messaging_pb.SeaweedS3IamCache/PutIdentity"],
    "volume.port.grpc": [
        "/volume_server_pb.VolumeServer/DeleteCollection",
        "/volume_server_pb.VolumeServer/BatchDelete",
    ],
}

pytestmark = pytest.mark.integration


@pytest.fixture
def ports(s3_server):
    """What the server's processes listen on, found out from outside."""
    found = {
        connection.laddr.port
        for member in s3_server.process.members()
        for connection in member.net_connections("tcp")
        if connection.status == "LISTEN"
    }
    assert found == set(s3_server._ports)
    return found


@pytest.fixture
def known(s3_server):
    from clipfarm_tasks.stack.seaweed import _PORT_FLAGS

    return dict(zip(_PORT_FLAGS, s3_server._ports, strict=False))


@pytest.fixture
def secret(s3_server):
    client = s3_server.client()
    client.put_object(Bucket=s3_server.bucket, Key=KEY, Body=BODY)
    yield client
    client.delete_object(Bucket=s3_server.bucket, Key=KEY)


@pytest.fixture
def http():
    with httpx.Client(timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def parts_key(s3_server):
    """The certificate with which the server's parts know each other."""
    [pem] = [path.read_bytes() for path in (s3_server._folder / "keys").glob("*.pem")]
    certificate = re.search(rb"-+BEGIN CERTIFICATE.*", pem, re.DOTALL).group()
    return grpc.ssl_channel_credentials(certificate, pem, certificate), grpc.ssl_channel_credentials(certificate)


def test_no_port_reads_or_writes_by_http_without_a_signature(s3_server, ports, secret, http):
    paths = [
        f"/buckets/{s3_server.bucket}/{KEY}",
        f"/{s3_server.bucket}/{KEY}",
        f"/buckets/{s3_server.bucket}/doors/new",
    ]
    paths += [
        "/dir/assign",
        "/dir/lookup?volumeId=1",
        "/submit",
        "/col/delete?collection=" + s3_server.bucket,
        "/vol/grow",
    ]
    answered = 0
    for port in ports:
        for method in METHODS:
            for path in paths:
                content = b"evil" if method in {"PUT", "POST"} else None
                try:
                    answer = http.request(method, f"http://127.0.0.1:{port}{path}", content=content)
                except httpx.TransportError:  # one that speaks gRPC
                    continue
                answered += 1
                assert answer.status_code in {400, 401, 403, 404, 405}, f"{method} {path} at {port}: {answer}"
                assert BODY not in answer.content
    assert answered >= len(METHODS) * len(paths) * 3
    assert secret.get_object(Bucket=s3_server.bucket, Key=KEY)["Body"].read() == BODY
    assert [item["Key"] for item in secret.list_objects_v2(Bucket=s3_server.bucket, Prefix="doors/")["Contents"]] == [
        KEY
    ]


def test_a_volume_takes_and_gives_nothing_without_a_token(known, parts_key, http):
    """With one it does: what is refused is the missing token, not the request."""
    assigned = call(known["master.port.grpc"], ASSIGN, parts_key[0])
    file_id = re.search(rb"\d+,[0-9a-f]+", assigned).group().decode()
    token = re.search(rb"ey[\w-]+\.[\w-]+\.[\w-]{43}", assigned).group().decode()
    url = f"http://127.0.0.1:{known['volume.port']}/{file_id}"
    upload = {"file": ("name", BODY)}
    assert http.post(url, files=upload).status_code == 401
    allowed = {"Authorization": f"Bearer {token}"}
    assert http.post(url, files=upload, headers=allowed).status_code == 201
    for method in METHODS:
        answer = http.request(method, url)
        assert (answer.status_code, BODY in answer.content) == (401, False), method


def test_no_port_answers_grpc_without_the_certificate(ports, known, parts_key):
    with_certificate, without_certificate = parts_key
    for name, methods in CALLS.items():
        for method in methods:
            assert reached(known[name], method, with_certificate), f"expected {method} to exist, at {name}"
    for port in ports:
        for method in [method for methods in CALLS.values() for method in methods]:
            assert not reached(port, method, None), f"{method} at {port}, in plain text"
            assert not reached(port, method, without_certificate), f"{method} at {port}, by TLS"


def test_the_filer_gives_an_entry_to_its_own_kind_alone(s3_server, known, secret, parts_key):
    entry = LOOKUP, message(f"/buckets/{s3_server.bucket}/doors", "secret")
    assert b"secret" in call(known["filer.port.grpc"], entry[0], parts_key[0], entry[1])
    for credentials in (None, parts_key[1]):
        with pytest.raises(grpc.RpcError):
            call(known["filer.port.grpc"], entry[0], credentials, entry[1])


def message(*texts):
    """A protobuf message whose first fields are these short texts."""
    return b"".join(bytes([number << 3 | 2, len(text)]) + text.encode() for number, text in enumerate(texts, 1))


def call(port, method, credentials, content=b""):
    address = f"127.0.0.1:{port}"
    options = [("grpc.ssl_target_name_override", "seaweedfs"), ("grpc.enable_http_proxy", 0)]
    channel = (
        grpc.secure_channel(address, credentials, options) if credentials else grpc.insecure_channel(address, options)
    )
    with channel:
        return channel.unary_unary(method)(content, timeout=60)


def reached(port, method, credentials):
    """Whether the call came to the method, whatever that then said about an empty message."""
    try:
        call(port, method, credentials)
    except grpc.RpcError as error:
        return error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED}
    return True


def test_sockets_and_keys_are_for_the_owner_alone(s3_server):
    sockets = [path for port in s3_server._ports for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")]
    keys = list((s3_server._folder / "keys").iterdir())
    assert len(sockets) >= 5
    assert len(keys) == 2
    assert not [path for path in [*sockets, *keys] if stat.S_IMODE(path.stat().st_mode) & 0o077]
