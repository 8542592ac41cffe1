"""The node: one worker per pod, from its creation to its deletion."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.kubernetes.cluster_state import ClusterState, Object
from tests.kubernetes.environment import Secrets
from tests.kubernetes.pod_worker import Behaviour, PodWorker, condemn

TERMINAL = ("Succeeded", "Failed")


@dataclass
class _Care:
    worker: PodWorker
    life: asyncio.Task[None]
    expiry: asyncio.Task[None]
    deletion: asyncio.Task[None] | None = None


class Kubelet:
    """Runs pods; each in a folder of its own below ``folder``. A grace period never lasts over ``longest_grace_s``."""

    def __init__(self, state: ClusterState, secrets: Secrets, folder: Path, longest_grace_s: float) -> None:
        self._state = state
        self._secrets = secrets
        self._folder = folder
        self._longest_grace_s = longest_grace_s
        self._cares: dict[str, _Care] = {}

    @property
    def workers(self) -> Mapping[str, PodWorker]:
        """Of every pod that ever was, by uid, in the order of creation."""
        return {uid: care.worker for uid, care in self._cares.items()}

    def admit(self, pod: Object, behaviour: Behaviour) -> None:
        """Take care of a new pod."""
        folder = self._folder / pod["metadata"]["uid"]
        folder.mkdir()
        worker = PodWorker(self._state, pod, self._secrets, folder)
        life = asyncio.create_task(_live(worker, behaviour))
        self._cares[pod["metadata"]["uid"]] = _Care(worker, life, asyncio.create_task(worker.expire()))

    def delete(self, pod: Object, grace_s: int | None = None) -> Object:
        """Delete a pod as the API server does: at once when it never ran, is over or is forced (0), else gracefully."""
        care = self._cares[pod["metadata"]["uid"]]
        if grace_s == 0 or "nodeName" not in pod["spec"] or pod["status"]["phase"] in TERMINAL:
            self._state.remove("pods", pod)
            self._abandon(care)
            return pod
        condemned = condemn(self._state, pod, grace_s)
        if care.deletion is None and not care.worker.lost:
            care.worker.event("Normal", "Killing", f"Stopping container {care.worker.spec['name']}")
            grace = min(condemned["metadata"]["deletionGracePeriodSeconds"], self._longest_grace_s)
            care.deletion = asyncio.create_task(self._terminate(care, grace))
        return condemned

    async def stop(self) -> None:
        """Kill everything.

        Raises:
            ExceptionGroup: a behaviour did not go as it should.
        """
        tasks = [
            task
            for care in self._cares.values()
            for task in (care.life, care.expiry, care.deletion)
            if task is not None
        ]
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for worker in self.workers.values():
            if worker.container is not None:
                worker.container.kill()
                await worker.container.wait()
        if errors := [result for result in results if isinstance(result, Exception)]:
            raise ExceptionGroup("expected every pod to live its life, got errors", errors)

    async def _terminate(self, care: _Care, grace_s: float) -> None:
        care.expiry.cancel()
        if care.worker.container is None:
            care.life.cancel()
        else:
            care.worker.container.terminate()
            await asyncio.wait([care.life], timeout=grace_s)
            care.worker.container.kill()
        await asyncio.wait([care.life])
        self._state.remove("pods", care.worker.pod)

    @staticmethod
    def _abandon(care: _Care) -> None:
        care.expiry.cancel()
        if care.worker.container is None:
            care.life.cancel()
        else:
            care.worker.container.kill()


async def _live(worker: PodWorker, behaviour: Behaviour) -> None:
    await behaviour(worker)
