"""The few calls of Airflow's REST API (version 2) that the demo and the end-to-end test make."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from clipfarm_tasks.stack.errors import StackError
from clipfarm_tasks.stack.patience import STALLED_AFTER_S, Patience

FINISHED_RUN = frozenset({"success", "failed"})
_TIMEOUT_S = 120.0
_READS = 5  # SQLite refuses a read now and then while the scheduler writes
_PAUSE_S = 0.5
_POLL_S = 0.5
_SHOWN_BODY = 500


@dataclass(frozen=True)
class TaskState:
    """One task of a run, as last reported.

    Attributes:
        task_id: full id, e.g. ``concat_7d.train_ridge``.
        state: Airflow's state; None before it is scheduled.
        try_number: tries begun, 0 before the first.
        seconds: wall time of the last try, None before it ends.
    """

    task_id: str
    state: str | None
    try_number: int
    seconds: float | None


class AirflowClient:
    """A logged-in client. Every call raises `StackError` with status, URL and answer when Airflow refuses it."""

    def __init__(self, url: str, user: str, password: str, transport: httpx.BaseTransport | None = None) -> None:
        """Log in at ``url``.

        Raises:
            StackError: the server does not answer or refuses the password.
        """
        # Loopback only: a proxy configured for this machine must not see it.
        self._http = httpx.Client(base_url=url, timeout=_TIMEOUT_S, trust_env=False, transport=transport)
        token = self._json("POST", "/auth/token", json={"username": user, "password": password})["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._http.close()

    @staticmethod
    def unhealthy(url: str) -> list[str]:
        """Components at ``url`` that do not report healthy; ``api-server`` when nothing answers. Needs no login."""
        try:
            answer = httpx.get(f"{url}/api/v2/monitor/health", timeout=_TIMEOUT_S, trust_env=False)
            answer.raise_for_status()
        except httpx.HTTPError:
            return ["api-server"]
        health: dict[str, dict[str, str | None]] = answer.json()
        return [name for name, report in health.items() if report.get("status") != "healthy"]

    def import_errors(self) -> list[str]:
        """DAG files that could not be loaded: file name and the last line of the traceback."""
        errors = self._json("GET", "/api/v2/importErrors")["import_errors"]
        return [f"{item['filename']}: {item['stack_trace'].strip().splitlines()[-1]}" for item in errors]

    def wait_for_dag(self, dag_id: str, timeout_s: float = STALLED_AFTER_S) -> None:
        """Wait until the DAG processor has loaded a DAG.

        Raises:
            StackError: its file has errors, or it is not there after ``timeout_s`` seconds.
        """
        patience = Patience(timeout_s)
        while True:
            dags = self._json("GET", "/api/v2/dags", params={"dag_id_pattern": dag_id})["dags"]
            if any(dag["dag_id"] == dag_id for dag in dags):
                return
            if errors := self.import_errors():
                raise StackError(f"expected DAG {dag_id} to load, got: {'; '.join(errors)}")
            if patience.is_lost(dags):
                raise StackError(f"expected DAG {dag_id} within {timeout_s:g} s, got none, at {self._http.base_url}")
            time.sleep(_POLL_S)

    def pools(self) -> dict[str, int]:
        """Slots by pool."""
        answer = self._json("GET", "/api/v2/pools", params={"limit": 1000})
        return {pool["name"]: pool["slots"] for pool in answer["pools"]}

    def set_pools(self, sizes: Mapping[str, int]) -> None:
        """Make pools have these slots, whether they exist or not; what is deferred takes its slot too."""
        present = self.pools()
        for name, slots in sizes.items():
            size = {"slots": slots, "include_deferred": True}
            if name in present:
                # Two names for one field: a PATCH wants the pool's own again, as "pool" (Airflow 3.3.2).
                path = f"/api/v2/pools/{quote(name)}"
                self._json("PATCH", path, params={"update_mask": [*size]}, json={"pool": name} | size)
            else:
                self._json("POST", "/api/v2/pools", json={"name": name} | size)

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run a DAG."""
        self._json("PATCH", f"/api/v2/dags/{quote(dag_id)}", json={"is_paused": False})

    def trigger(self, dag_id: str, params: Mapping[str, Any] | None = None) -> str:
        """Start a run with these params, defaults for the rest; returns Airflow's run id."""
        body = {"logical_date": None, "conf": dict(params or {})}
        run: dict[str, Any] = self._json("POST", f"/api/v2/dags/{quote(dag_id)}/dagRuns", json=body)
        return str(run["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """State of a run: queued, running, success or failed."""
        return str(self._json("GET", _run(dag_id, run_id))["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        """Every task of a run."""
        answer = self._json("GET", f"{_run(dag_id, run_id)}/taskInstances", params={"limit": 1000})
        return [
            TaskState(item["task_id"], item["state"], item["try_number"], item["duration"])
            for item in answer["task_instances"]
        ]

    def returned(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task returned."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries/return_value"
        return self._json("GET", path, params={"deserialize": True})["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> list[dict[str, Any]]:
        """Messages one try of a task logged, oldest first; text that is no JSON becomes the ``event``."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{try_number}"
        content = self._json("GET", path, params={"full_content": True}, headers={"Accept": "application/json"})[
            "content"
        ]
        return [item if isinstance(item, dict) else {"event": str(item)} for item in content]

    def _json(self, method: str, path: str, **request: Any) -> Any:
        """Send a request; a read is repeated after a server error or a broken connection, a write never."""
        for remaining in reversed(range(_READS if method == "GET" else 1)):
            try:
                answer = self._http.request(method, path, **request)
            except httpx.TransportError as error:
                if not remaining:
                    raise StackError(
                        f"expected Airflow to answer, got {type(error).__name__}: {error}, in "
                        f"{method} {self._http.base_url.join(path)}"
                    ) from error
            else:
                if answer.is_success:
                    return answer.json()
                if not answer.is_server_error or not remaining:
                    raise StackError(
                        f"expected success, got HTTP {answer.status_code} {answer.text[:_SHOWN_BODY]}, in "
                        f"{method} {answer.url}"
                    )
            time.sleep(_PAUSE_S)
        raise StackError(f"expected at least one try, got none, in {method} {path}")


def _run(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"
