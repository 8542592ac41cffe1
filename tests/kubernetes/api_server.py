"""A Kubernetes API over HTTP inside the test process; its one node really runs the pods' commands.

It is written on aiohttp.web because PyPI's kmock 0.8 keeps objects only as they were sent: no uid, no
resourceVersion, selectors ignored, no grace period, status open to any client, so that all but routing would be new.
"""

import asyncio
import copy
import json
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from aiohttp import web

from tests.kubernetes.api_error import ApiError
from tests.kubernetes.api_routes import ApiRoutes
from tests.kubernetes.behaviours import run
from tests.kubernetes.cluster_state import ClusterState, Object
from tests.kubernetes.faults import Fault, Handler, Strike, cutting, failing, hanging
from tests.kubernetes.kubelet import Kubelet
from tests.kubernetes.pod_worker import Behaviour

_STARTS_WITHIN_S = _ANSWERS_WITHIN_S = _STOPS_WITHIN_S = 60.0
_POLL_S = 0.01
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_RESOURCE = re.compile(r"/api/v1(?:/namespaces/[^/]+)?/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>[a-z]+))?)?")
T = TypeVar("T")
When = Callable[[Mapping[str, Any]], bool]


class Request(NamedTuple):
    """One request as the server received it."""

    method: str
    path: str
    query: dict[str, str]

    @property
    def verb(self) -> tuple[str, str]:
        """Verb and resource as a role names them: ``("get", "pods/log")``; the path itself outside of resources."""
        match = _RESOURCE.fullmatch(self.path)
        if match is None:
            return self.method.lower(), self.path
        resource = match["resource"] + (f"/{match['sub']}" if match["sub"] else "")
        if resource == "pods/exec":
            return "create", resource
        if self.method == "GET" and not match["name"]:
            return ("watch" if self.query.get("watch") else "list"), resource
        if self.method == "DELETE" and not match["name"]:
            return "deletecollection", resource
        return _VERBS.get(self.method, "get"), resource


class KubernetesApi:
    """A server from ``__enter__`` to ``__exit__``; whatever it started is gone afterwards.

    ``secrets`` holds what pods may refer to, ``created`` every pod as it was sent, ``requests`` what was asked.
    Grace periods are cut to ``longest_grace_s`` seconds.
    """

    def __init__(self, namespace: str = "default", *, longest_grace_s: float = 1.0) -> None:
        self.namespace = namespace
        self.url = ""
        self.token = secrets.token_hex(16)
        self.secrets: dict[str, dict[str, str]] = {}
        self.created: list[Object] = []
        self.requests: list[Request] = []
        self._longest_grace_s = longest_grace_s
        self._fates: list[tuple[When, Behaviour]] = []
        self._faults: list[Fault] = []
        self._address: Future[str] = Future()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="kubernetes-api", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.url = self._address.result(_STARTS_WITHIN_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_STOPS_WITHIN_S)
        if self._thread.is_alive():
            raise TimeoutError(f"expected {self.url} to stop within {_STOPS_WITHIN_S:g} s, got no end")
        if self._failure is not None:
            raise self._failure

    def kubeconfig(self, path: Path) -> Path:
        """Write a client configuration with the token to ``path`` and return it."""
        context = {"cluster": "test", "user": "test", "namespace": self.namespace}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": context}],
        }
        path.write_text(json.dumps(content))
        return path

    def connection(self) -> str:
        """An Airflow connection for ``AIRFLOW_CONN_KUBERNETES_DEFAULT``; the token is only in the file it names."""
        path = self.kubeconfig(self._folder / "kubeconfig")
        return json.dumps(
            {"conn_type": "kubernetes", "extra": {"kube_config_path": str(path), "namespace": self.namespace}}
        )

    def behave(self, *behaviours: Behaviour, when: When = lambda _: True, times: int = 1) -> None:
        """Let the next pods that match fare so, ``times`` each, in this order; all others `run`."""
        self._call(lambda: self._fates.extend((when, one) for one in behaviours for _ in range(times)))

    def fail(
        self,
        method: str,
        pattern: str,
        code: int,
        *,
        times: int = 1,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        after: bool = False,
    ) -> Fault:
        """Answer the next requests whose path and query hold ``pattern`` with an error; ``after``: do the work first.

        ``after`` is not for streams. The fault returned counts what it struck.
        """
        return self._add_fault(method, pattern, times, failing(code, headers, body, after=after))

    def hang(self, method: str, pattern: str, seconds: float, *, times: int = 1, after: bool = False) -> Fault:
        """Answer the next matching requests late; ``after``: the work is done at once, only the answer is late."""
        return self._add_fault(method, pattern, times, hanging(seconds, after=after))

    def cut(self, method: str, pattern: str, *, times: int = 1, after: bool = False) -> Fault:
        """Close the connection of the next matching requests without an answer; ``after``: do the work first."""
        return self._add_fault(method, pattern, times, cutting(after=after))

    def heal(self) -> None:
        """Forget all faults."""
        self._call(self._faults.clear)

    def pods(self) -> list[Object]:
        """All pods there are, with their status."""
        return copy.deepcopy(self._call(lambda: self._state.of_kind("pods")))

    def pod(self, name: str) -> Object | None:
        """One pod, None when there is none of that name."""
        return next((pod for pod in self.pods() if pod["metadata"]["name"] == name), None)

    def log(self, name: str) -> str:
        """What all pods of a name have written, also those that are gone."""
        workers = self._call(lambda: [*self._kubelet.workers.values()])
        return "".join(worker.log.text() for worker in workers if worker.name == name)

    def running(self) -> dict[int, str]:
        """Name of the pod of every process that runs, by process id."""
        workers = self._call(lambda: [*self._kubelet.workers.values()])
        return {one.container.pid: one.name for one in workers if one.container and not one.container.ended}

    def delete_pod(self, name: str, grace_s: int | None = None) -> None:
        """Delete a pod from outside, as a person does; 0 forces it. Returns at once, as with ``--wait=false``."""
        self._call(lambda: self._kubelet.delete(self._state.get("pods", self.namespace, name), grace_s))

    def wait_for(self, name: str, phase: str | None, *, log: str = "", quiet_s: float = 30.0) -> None:
        """Wait until a pod is in a phase (None: gone) and ``log`` is in what pods of that name wrote.

        Raises:
            TimeoutError: it does not come to that: nothing of it has changed for ``quiet_s``.
        """
        seen, deadline = None, 0.0
        while self._phase(name) != phase or log not in self.log(name):
            now = (self.pod(name), self.log(name))
            if now != seen:
                seen, deadline = now, time.monotonic() + quiet_s
            elif time.monotonic() > deadline:
                raise TimeoutError(f"expected {name} to be {phase} with {log!r} in its log, got {self.pod(name)}")
            time.sleep(_POLL_S)

    def _phase(self, name: str) -> str | None:
        pod = self.pod(name)
        return None if pod is None else str(pod["status"]["phase"])

    def _add_fault(self, method: str, pattern: str, times: int, strike: Strike) -> Fault:
        fault = Fault(method, pattern, times, strike)
        self._call(lambda: self._faults.append(fault))
        return fault

    def _fate(self, pod: Object) -> Behaviour:
        for number, (when, behaviour) in enumerate(self._fates):
            if when(pod):
                del self._fates[number]
                return behaviour
        return run

    def _call(self, work: Callable[[], T]) -> T:
        async def called() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result(_ANSWERS_WITHIN_S)

    def _run(self) -> None:
        with tempfile.TemporaryDirectory(prefix="clipfarm-pods-", ignore_cleanup_errors=True) as folder:
            self._folder = Path(folder)
            try:
                asyncio.run(self._serve())
            except (OSError, ExceptionGroup) as error:
                self._failure = error
                if not self._address.done():
                    self._address.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._state = ClusterState()
        self._kubelet = Kubelet(self._state, self.secrets, self._folder, self._longest_grace_s)
        routes = ApiRoutes(self._state, self._kubelet, self.namespace, self.created, self._fate)
        application = web.Application(middlewares=[self._receive])
        application.add_routes(routes.table())
        runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._address.set_result(f"http://127.0.0.1:{runner.addresses[0][1]}")
            await self._stop.wait()
        finally:
            await runner.cleanup()
            await self._kubelet.stop()

    @web.middleware
    async def _receive(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests.append(Request(request.method, request.path, dict(request.query)))
        try:
            self._require_allowed(request)
            for fault in self._faults:
                if fault.takes(request.method, request.path_qs):
                    fault.struck += 1
                    return await fault.strike(request, handler)
            return await handler(request)
        except ApiError as error:
            return web.json_response(error.status, status=error.code)

    def _require_allowed(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise ApiError(401, "Unauthorized")
        if "dryRun" in request.query:
            raise ApiError(400, "expected a request to be carried out, got a dry run")
