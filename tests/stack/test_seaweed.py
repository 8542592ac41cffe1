import json
import stat
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from clipfarm_tasks.config import Settings
from clipfarm_tasks.stack.errors import StackError
from clipfarm_tasks.stack.process import stop
from clipfarm_tasks.stack.seaweed import SeaweedServer


@pytest.mark.integration
def test_two_servers_side_by_side_share_nothing_and_leave_nothing(tmp_path):
    with SeaweedServer(tmp_path / "a", "same-name") as one, SeaweedServer(tmp_path / "b", "same-name") as two:
        one.client().put_object(Bucket="same-name", Key="only/here", Body=b"1")
        assert one.client().list_objects_v2(Bucket="same-name")["KeyCount"] == 1
        assert two.client().list_objects_v2(Bucket="same-name")["KeyCount"] == 0
        with pytest.raises(ClientError, match=r"InvalidAccessKeyId|SignatureDoesNotMatch"):
            crossed(two, one).client().list_objects_v2(Bucket="same-name")
        members = one.process.members() | two.process.members()
        ports = [connection.laddr.port for member in members for connection in member.net_connections("tcp")]
        assert members
    assert not [member for member in members if member.is_running()]
    assert not [socket for port in ports for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")]
    with pytest.raises(EndpointConnectionError):
        one.client().list_buckets()


def crossed(server, credentials_of):
    """The one server's address with the other one's key pair."""
    wrong = SeaweedServer(Path("unused"), server.bucket)
    wrong.endpoint_url = server.endpoint_url
    wrong.access_key, wrong.secret_key = credentials_of.access_key, credentials_of.secret_key
    return wrong


@pytest.mark.integration
def test_content_outlives_a_restart(tmp_path):
    for key in ("first", "second"):
        with SeaweedServer(tmp_path, "kept") as server:
            server.client().put_object(Bucket="kept", Key=key, Body=key.encode())
    with SeaweedServer(tmp_path, "kept") as server:
        bodies = [server.client().get_object(Bucket="kept", Key=key)["Body"].read() for key in ("first", "second")]
    assert bodies == [b"first", b"second"]


@pytest.mark.integration
def test_listens_on_loopback_only(s3_server):
    addresses = {
        connection.laddr.ip
        for member in s3_server.process.members()
        for connection in member.net_connections("inet")
        if connection.status == "LISTEN"
    }
    assert addresses == {"127.0.0.1"}


@pytest.mark.integration
def test_environment_is_complete_for_the_pipeline_and_for_boto3(s3_server, monkeypatch):
    import boto3

    environment = s3_server.environment()
    settings = Settings.from_environment(environment)
    assert (settings.bucket, settings.endpoint_url) == (s3_server.bucket, s3_server.endpoint_url)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert s3_server.bucket in [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]]


@pytest.mark.integration
def test_a_bucket_that_was_not_created_does_not_appear_by_itself(s3_server):
    with pytest.raises(ClientError, match="NoSuchBucket"):
        s3_server.client().put_object(Bucket="never-created", Key="key", Body=b"1")


@pytest.mark.integration
def test_key_pair_is_readable_by_the_owner_alone(tmp_path):
    server = SeaweedServer(tmp_path, "bucket")
    path = server._write_identities()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    [identity] = json.loads(path.read_text())["identities"]
    assert identity["credentials"] == [{"accessKey": server.access_key, "secretKey": server.secret_key}]
    assert server.secret_key != SeaweedServer(tmp_path, "bucket").secret_key


def test_a_server_that_ends_at_once_is_tried_again_and_then_reported_with_its_log(tmp_path):
    program = executable(tmp_path, "echo started >> starts; echo 'no space left on device' >&2; exit 4")
    with (
        pytest.raises(
            StackError, match=r"expected the S3 server to keep running, got exit status 4.*\n(.*\n)*.*no space left"
        ),
        SeaweedServer(tmp_path / "state", "bucket", program),
    ):
        pytest.fail("started")
    assert (tmp_path / "starts").read_text().split() == ["started"] * 3


def test_a_server_that_never_answers_is_stopped_and_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("clipfarm_tasks.stack.seaweed._STARTED_WITHIN_S", 0.5)
    server = SeaweedServer(
        tmp_path / "state", "bucket", executable(tmp_path, "echo waiting for a leader; exec sleep 60")
    )
    stopped = []
    monkeypatch.setattr(
        "clipfarm_tasks.stack.seaweed.stop", lambda servers, grace: stopped.extend(servers) or stop(servers, grace)
    )
    with (
        pytest.raises(
            StackError, match=r"expected the S3 server to list bucket bucket within 0\.5 s(.*\n)*.*waiting for a"
        ),
        server,
    ):
        pytest.fail("started")
    assert [each.exit_code() for each in stopped] == [-15]


def executable(folder, script):
    program = folder / "weed"
    program.write_text(f"#!/bin/sh\ncd {folder}\n{script}\n")
    program.chmod(0o755)
    return program


def test_the_program_is_this_environments_own():
    assert SeaweedServer(Path("unused"), "bucket")._program == Path(sys.prefix) / "bin" / "weed"
