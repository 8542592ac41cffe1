"""What the kubelet does with one pod: schedules it, runs its container, reports its status, ends it.

A `Behaviour` decides in which order and how it goes wrong. The phase only ever goes forward.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.kubernetes.cluster_state import ClusterState, Object, now
from tests.kubernetes.container import Container, ContainerLog
from tests.kubernetes.environment import MissingReferenceError, Secrets, environment

PAUSE_S = 0.02  # between two states, so that who looks may see each
NODE = "node-1"
_ORDER = {"Pending": 0, "Running": 1, "Succeeded": 2, "Failed": 2}
_OVERDUE = "Pod was active on the node longer than the specified deadline"
_MESSAGE_LINES, _MESSAGE_BYTES = 80, 2048  # what the kubelet takes from the end of a log


class PodWorker:
    """One pod. ``log_refusal`` is the status every log request gets (from the container's end on: ``log_gone``)."""

    def __init__(self, state: ClusterState, pod: Object, secrets: Secrets, folder: Path) -> None:
        self.pod = pod
        self.spec = pod["spec"]["containers"][0]
        self.log = ContainerLog()
        self.container: Container | None = None
        self.lost = False
        self.log_refusal: int | None = None
        self.log_gone = False
        self.state = state
        self._secrets = secrets
        self._folder = folder
        self._image_id = ""
        self._started_at = ""
        self._overdue = False

    @property
    def name(self) -> str:
        return str(self.pod["metadata"]["name"])

    def schedule(self) -> None:
        """Bind the pod to the node; its container waits to be created."""

        def bind(pod: Object) -> None:
            pod["spec"]["nodeName"] = NODE
            conditions = [_condition(kind, kind in {"PodScheduled", "Initialized"}) for kind in _CONDITIONS]
            pod["status"] |= {"startTime": now(), "hostIP": "10.0.0.1", "conditions": conditions}

        self._update(bind)
        self.event("Normal", "Scheduled", f"Successfully assigned {self.name} to {NODE}")
        self.waiting("ContainerCreating")

    def waiting(self, reason: str, message: str | None = None) -> None:
        """Report why the container does not run yet."""
        state = {"reason": reason} | ({"message": message} if message else {})
        self._report("Pending", {"waiting": state})

    async def start(self) -> bool:
        """Start the container; False when there is none to wait for: a missing reference, or no such program."""
        try:
            variables = environment(self.pod, self.spec, self._secrets, self._folder)
        except MissingReferenceError as error:
            self.waiting("CreateContainerConfigError", str(error))
            self.event("Warning", "Failed", f"Error: {error}")
            await asyncio.Event().wait()
        command = [*self.spec.get("command", []), *self.spec.get("args", [])]
        try:
            self.container = await Container.start(command, variables, self._folder, self.log)
        except OSError as error:
            self.log.close()
            self._started_at = now()
            self._end(128, "StartError", f"failed to start container: {error.strerror}: {command[0]}")
            return False
        self._started_at = now()
        self._image_id = f"image://{self.spec['image']}"
        self._report("Running", {"running": {"startedAt": self._started_at}})
        self.event("Normal", "Started", f"Started container {self.spec['name']}")
        return True

    async def finish(self, reason: str | None = None) -> None:
        """Wait for the container's end and report it, for ``reason`` or the usual one."""
        if self.container is None:
            raise RuntimeError(f"expected a started container, got none, in {self.name}")
        code = await self.container.wait()
        self.log_refusal = 404 if self.log_gone else self.log_refusal
        self._end(code, reason or ("Error" if code else "Completed"), self._last_words(code))

    def succeed(self) -> None:
        """Report success of a container that never ran."""
        self._started_at = now()
        self.log.close()
        self._end(0, "Completed", "")

    def fail(self, reason: str, message: str, *, is_container_known: bool = False) -> None:
        """Report the pod as failed, as it is when the node drops it."""

        def drop(pod: Object) -> None:
            if not is_container_known:
                pod["status"].pop("containerStatuses", None)
            pod["status"] |= {"phase": "Failed", "reason": reason, "message": message}

        self.log.close()
        self._update(drop)
        self.event("Warning", reason, message)

    def unschedulable(self, message: str) -> None:
        """Report that no node takes the pod."""
        condition = _condition("PodScheduled", met=False) | {"reason": "Unschedulable", "message": message}
        self._update(lambda pod: pod["status"].update(conditions=[condition]))
        self.event("Warning", "FailedScheduling", message)

    async def lose_node(self) -> None:
        """The node is gone with all that ran on it; nobody reports anything about the pod from here on."""
        self.lost = True
        self.log_refusal = 500
        if self.container is not None:
            self.container.kill()
            await self.container.wait()

    async def expire(self) -> None:
        """End a pod that is not over ``activeDeadlineSeconds`` after its creation, unless no node has it."""
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        if seconds is None:
            return
        await asyncio.sleep(seconds)
        if self.container is not None and not self.container.ended:
            self._overdue = True
            self.container.kill()
        elif self.pod["status"]["phase"] == "Pending" and "nodeName" in self.pod["spec"]:
            self.fail("DeadlineExceeded", _OVERDUE)

    def event(self, kind: str, reason: str, message: str) -> None:
        """Record an event about the pod; nothing once the pod is gone."""
        if not self.state.holds("pods", self.pod):
            return
        about = {key: self.pod["metadata"][key] for key in ("name", "namespace", "uid")}
        metadata = {"name": f"{self.name}.{self.state.version:x}", "namespace": about["namespace"]}
        moment = {"firstTimestamp": now(), "lastTimestamp": now(), "count": 1}
        found = {"kind": "Event", "apiVersion": "v1", "metadata": metadata, "type": kind, "source": {"host": NODE}}
        involved = {"kind": "Pod", "apiVersion": "v1", "fieldPath": f"spec.containers{{{self.spec['name']}}}"}
        words = {"involvedObject": involved | about, "reason": reason, "message": message}
        self.state.create("events", found | moment | words)

    def _last_words(self, code: int) -> str:
        if code == 0 or self.spec["terminationMessagePolicy"] != "FallbackToLogsOnError":
            return ""
        lines = [line for _, line in self.log.lines[-_MESSAGE_LINES:]]
        return b"\n".join(lines)[-_MESSAGE_BYTES:].decode(errors="replace")

    def _end(self, code: int, reason: str, message: str) -> None:
        ended = {"exitCode": code, "reason": reason, "startedAt": self._started_at, "finishedAt": now()}
        if message:
            ended["message"] = message
        self._report("Failed" if code else "Succeeded", {"terminated": ended})
        if self._overdue:
            self._update(lambda pod: pod["status"].update(reason="DeadlineExceeded", message=_OVERDUE))

    def _report(self, phase: str, state: Object) -> None:
        ready = "running" in state
        container = {
            "name": self.spec["name"],
            "image": self.spec["image"],
            "imageID": self._image_id,
            "ready": ready,
            "started": ready,
            "restartCount": 0,
            "state": state,
        }

        def report(pod: Object) -> None:
            status = pod["status"]
            if _ORDER[phase] < _ORDER[status["phase"]]:
                raise RuntimeError(f"expected a phase after {status['phase']}, got {phase}, in {self.name}")
            status |= {"phase": phase, "containerStatuses": [container]}
            if phase != "Pending":
                status["podIP"] = "10.0.0.2"
            for condition in status.get("conditions", []):
                if condition["type"] in {"Ready", "ContainersReady"}:
                    condition["status"] = str(ready)

        self._update(report)

    def _update(self, change: Callable[[Object], None]) -> None:
        if self.state.holds("pods", self.pod):
            self.pod = self.state.update("pods", self.pod, change)


Behaviour = Callable[[PodWorker], Awaitable[None]]
_CONDITIONS = ("PodScheduled", "Initialized", "ContainersReady", "Ready")


def condemn(state: ClusterState, pod: Object, grace_s: int | None = None) -> Object:
    """Mark a pod as being deleted, from now plus its grace period on; a later mark may only be earlier."""
    period = pod["spec"]["terminationGracePeriodSeconds"] if grace_s is None else grace_s

    def mark(found: Object) -> None:
        metadata = found["metadata"]
        metadata["deletionGracePeriodSeconds"] = min(period, metadata.get("deletionGracePeriodSeconds", period))
        metadata["deletionTimestamp"] = min(now(period), metadata.get("deletionTimestamp", now(period)))

    return state.update("pods", pod, mark)


def _condition(kind: str, met: bool) -> Object:
    return {"type": kind, "status": str(met), "lastTransitionTime": now()}
