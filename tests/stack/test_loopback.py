"""Servers of this machine are reached where a proxy is configured that is not there."""

import os
import subprocess
import sys

import httpx
import pytest

from clipfarm_tasks.config import Settings
from clipfarm_tasks.stack.loopback import unproxied
from clipfarm_tasks.stack.seaweed import SeaweedServer

DEAD = "http://127.0.0.1:9"
PROXIES = [name for scheme in ("HTTP", "HTTPS", "ALL") for name in (f"{scheme}_PROXY", f"{scheme}_proxy".lower())]
EVERY_CLIENT = """
import os
import boto3, httpx
from clipfarm_tasks.config import Settings
from clipfarm_tasks.storage import open_store

url, bucket = os.environ["AWS_ENDPOINT_URL"], os.environ["CLIPFARM_BUCKET"]
assert httpx.get(url).status_code == 403
assert boto3.client("s3").list_objects_v2(Bucket=bucket)["KeyCount"] == 1
assert open_store(Settings.from_environment(), boto3.Session()).get("key") == b"1"
print("all")
"""


@pytest.fixture
def dead_proxy(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")  # so that it is as before afterwards
        monkeypatch.delenv(name)
    for name in PROXIES:
        monkeypatch.setenv(name, DEAD)


@pytest.mark.integration
def test_the_s3_server_starts_and_serves_behind_a_dead_proxy(dead_proxy, tmp_path, repository):
    import boto3

    from clipfarm_tasks.storage import open_store

    with SeaweedServer(tmp_path, "bucket") as server:
        session = boto3.Session(server.access_key, server.secret_key, region_name="us-east-1")
        open_store(Settings.from_environment(server.environment()), session).put("key", b"1")
        assert server.client().get_object(Bucket="bucket", Key="key")["Body"].read() == b"1"
        proxies = dict.fromkeys(PROXIES, DEAD)
        for environment in (os.environ | server.environment(), {"PATH": os.defpath} | proxies | server.environment()):
            answer = subprocess.run(
                [sys.executable, "-c", EVERY_CLIENT],
                env=environment | {"PYTHONPATH": str(repository)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert answer.stdout == "all\n", answer.stderr
    assert {os.environ[name] for name in PROXIES} == {DEAD}


def test_the_proxy_is_not_asked_for_loopback_and_is_for_others(dead_proxy, monkeypatch):
    with pytest.raises(httpx.ConnectError), httpx.Client() as client:
        client.get("http://192.0.2.1/")  # at the dead port, at once
    for name, value in unproxied(os.environ).items():
        monkeypatch.setenv(name, value)
    from urllib.request import getproxies_environment, proxy_bypass_environment

    assert getproxies_environment()["http"] == DEAD
    for host in ("127.0.0.1", "127.0.0.1:8333", "localhost", "localhost:8080", "::1"):
        assert proxy_bypass_environment(host), host
    assert not proxy_bypass_environment("s3.example")


def test_what_was_exempt_stays_exempt_whatever_the_name_of_the_variable():
    expected = dict.fromkeys(("NO_PROXY", "no_proxy"), "a.example,.b.example,127.0.0.1,localhost,::1")
    assert unproxied({"NO_PROXY": "a.example", "no_proxy": " .b.example ,, 127.0.0.1"}) == expected
    assert unproxied(expected) == expected
    assert unproxied({"no_proxy": "*"}) == {"NO_PROXY": "*", "no_proxy": "*"}
