"""Airflow on one machine: SQLite, LocalExecutor, everything on loopback.

The components run side by side as ``airflow standalone`` would run them, but each under our own eyes: standalone
stops its children only on SIGINT, and leaves them running when it is terminated.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from clipfarm_tasks.deployment.scheduling import pool_sizes
from clipfarm_tasks.stack.airflow_client import AirflowClient
from clipfarm_tasks.stack.errors import StackError
from clipfarm_tasks.stack.loopback import unproxied
from clipfarm_tasks.stack.patience import STALLED_AFTER_S, Patience
from clipfarm_tasks.stack.ports import LOOPBACK, free_ports
from clipfarm_tasks.stack.process import ServerProcess, stop

CONNECTION_ID = "clipfarm_s3"
REPOSITORY = Path(__file__).resolve().parents[2]
USER = "admin"
_STOPPED_WITHIN_S = 8.0  # a task in the middle of its work is killed then: whatever it does can be repeated
_POLL_S = 0.3
_COMPONENTS = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),  # logs are read from the folder; no further port is opened
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
# One thread per library in each process: tasks already run side by side.
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")


class AirflowServer:
    """Airflow with this repository's DAGs and plugins, for the length of a ``with`` block.

    Attributes:
        url: address of the UI and the API.
    """

    def __init__(
        self,
        home: Path,
        s3: Mapping[str, str],
        dags: Path = REPOSITORY / "dags",
        plugins: Path = REPOSITORY / "plugins",
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare an Airflow.

        Args:
            home: AIRFLOW_HOME; database, logs and generated password live there.
            s3: CLIPFARM_BUCKET and the AWS variables of the bucket, as `SeaweedServer.environment` gives them.
            dags: DAG folder.
            plugins: plugin folder.
            overrides: further environment of every component, e.g. ``AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE``;
                CLIPFARM_CPU_SLOTS and CLIPFARM_GPU_SLOTS size the pools.
        """
        self.url = ""
        self._home = home.resolve()
        self._s3 = dict(s3)
        self._dags = dags
        self._plugins = plugins
        self._overrides = dict(overrides or {})
        self._servers: list[ServerProcess] = []

    def __enter__(self) -> Self:
        """Create the database if need be, start all components, wait until each reports healthy, set up the pools.

        Raises:
            ConfigError: the size of a pool is no positive number.
            StackError: one of them does not come up; shows the end of its log.
        """
        pools = pool_sizes(self._overrides)
        try:
            self._start()
            self._wait_until_healthy()
            # Before anybody unpauses a DAG: a task of a pool that does not exist is never started, and says nothing.
            with self.client() as client:
                client.set_pools(pools)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all components and the tasks they run."""
        self._stop()

    @property
    def logs(self) -> Path:
        """Folder of the components' own logs."""
        return self._home / "servers"

    @property
    def servers(self) -> tuple[ServerProcess, ...]:
        """The running components."""
        return tuple(self._servers)

    def password(self) -> str:
        """Password Airflow generated for the user ``admin``."""
        content: dict[str, str] = json.loads(self._password_file.read_text())
        return content[USER]

    def client(self) -> AirflowClient:
        """A client of the REST API, logged in as ``admin``."""
        return AirflowClient(self.url, USER, self.password())

    def require_running(self) -> None:
        """Check that no component has stopped by itself.

        Raises:
            StackError: one has; shows the end of its log.
        """
        for server in self._servers:
            server.require_running()

    def environment(self, port: int) -> dict[str, str]:
        """Variables of every component; ``port`` is the API's."""
        url = f"http://{LOOPBACK}:{port}"
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "AWS_", "CLIPFARM_"))
        }
        return (
            inherited
            | unproxied(inherited)
            | _THREADS
            | {
                "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
                "PYTHONPATH": str(REPOSITORY),
                "TMPDIR": str(self._temporary),  # a task killed at the end leaves its temporary files here
                "CLIPFARM_BUCKET": self._s3["CLIPFARM_BUCKET"],
                "AWS_EC2_METADATA_DISABLED": "true",
                f"AIRFLOW_CONN_{CONNECTION_ID.upper()}": self._connection(),
                "AIRFLOW_HOME": str(self._home),
                "AIRFLOW__API__BASE_URL": url,
                "AIRFLOW__API__HOST": LOOPBACK,
                "AIRFLOW__API__PORT": str(port),
                "AIRFLOW__CORE__AUTH_MANAGER": (
                    "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
                ),
                "AIRFLOW__CORE__DAGS_FOLDER": str(self._dags),
                "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
                "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW__CORE__PARALLELISM": str(max(2, os.cpu_count() or 2)),
                "AIRFLOW__CORE__PLUGINS_FOLDER": str(self._plugins),
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self._password_file),
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self._home / 'airflow.db'}",
                "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self._home / "logs"),
                # NOTE: a supervisor that has read its task's last byte before the task's process is gone sleeps this
                # many seconds before it looks again, and keeps its slot (Airflow 3.3.2, supervisor.py,
                # _monitor_subprocess). At the default of 5 that was most of the time of a short task.
                "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            }
            | self._overrides
        )

    @property
    def _password_file(self) -> Path:
        return self._home / "password.json"

    @property
    def _temporary(self) -> Path:
        return self._home / "tmp"

    def _connection(self) -> str:
        return json.dumps(
            {
                "conn_type": "aws",
                "login": self._s3["AWS_ACCESS_KEY_ID"],
                "password": self._s3["AWS_SECRET_ACCESS_KEY"],
                "extra": {"endpoint_url": self._s3["AWS_ENDPOINT_URL"], "region_name": self._s3["AWS_REGION"]},
            }
        )

    def _start(self) -> None:
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir()
        [port] = free_ports(1)
        self.url = f"http://{LOOPBACK}:{port}"
        environment = self.environment(port)
        airflow = str(Path(sys.prefix) / "bin" / "airflow")
        # First and alone: it also writes the configuration with the generated secrets all components share.
        migration = ServerProcess(
            "airflow db migrate", [airflow, "db", "migrate"], environment, self.logs / "db-migrate.log"
        )
        self._servers = [migration]
        migration.wait(STALLED_AFTER_S)
        self._servers = []
        for name, arguments in _COMPONENTS.items():
            self._servers.append(
                ServerProcess(f"airflow {name}", [airflow, *arguments], environment, self.logs / f"{name}.log")
            )

    def _wait_until_healthy(self) -> None:
        patience = Patience()
        while unhealthy := self._unhealthy():
            self.require_running()
            if patience.is_lost(unhealthy):
                raise StackError(
                    f"expected one more component of Airflow to be healthy within {patience.limit_s:g} s, got "
                    f"{', '.join(unhealthy)} not healthy, at {self.url}; logs are in {self.logs}"
                )
            time.sleep(_POLL_S)

    def _unhealthy(self) -> list[str]:
        if not self._password_file.exists() or not self._password_file.read_text().strip():
            return ["api-server"]
        return AirflowClient.unhealthy(self.url)

    def _stop(self) -> None:
        stop(self._servers, _STOPPED_WITHIN_S)
        self._servers = []
