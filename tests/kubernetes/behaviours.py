"""How a pod fares: each behaviour runs as a coroutine beside the API server, from the pod's creation on.

Those that go wrong in the middle do so once the command has written ``after_lines`` lines, or at once for 0. A command
that ended before has ended.
"""

import asyncio

from tests.kubernetes.pod_worker import PAUSE_S, Behaviour, PodWorker, condemn


async def run(worker: PodWorker) -> None:
    """Pending, Running, then Succeeded or Failed as the command ends."""
    if await _started(worker):
        await worker.finish()


async def pending_forever(worker: PodWorker) -> None:
    """No node takes it."""
    worker.unschedulable("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")


async def image_pull_back_off(worker: PodWorker) -> None:
    """Its image is not there."""
    image = worker.spec["image"]
    error = f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": {image}: not found'
    worker.schedule()
    await asyncio.sleep(PAUSE_S)
    worker.waiting("ErrImagePull", error)
    worker.event("Warning", "Failed", f'Failed to pull image "{image}": {error}')
    await asyncio.sleep(PAUSE_S)
    worker.waiting("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {error}')
    worker.event("Normal", "BackOff", f'Back-off pulling image "{image}"')


async def registry_down(worker: PodWorker) -> None:
    """The registry of its image does not answer at first; then it runs."""
    image = worker.spec["image"]
    error = f'failed to resolve reference "{image}": dial tcp 10.0.0.9:443: connect: connection refused'
    worker.schedule()
    for reason, message in (("ErrImagePull", error), ("ImagePullBackOff", f'Back-off pulling image "{image}"')):
        worker.waiting(reason, message)
        await asyncio.sleep(3 * PAUSE_S)
    if await worker.start():
        await worker.finish()


async def never_created(worker: PodWorker) -> None:
    """A node takes it, and its container is being created for ever."""
    worker.schedule()
    worker.waiting("ContainerCreating")


def oom_killed(after_lines: int = 1) -> Behaviour:
    """The kernel kills it: exit code 137, reason OOMKilled."""

    async def behaviour(worker: PodWorker) -> None:
        if await _started(worker):
            killed = await _killed(worker, after_lines)
            await worker.finish("OOMKilled" if killed else None)

    return behaviour


def evicted(after_lines: int | None = None) -> Behaviour:
    """The node drops it: Failed, reason Evicted.

    None: before it ran, and nothing is known of its container. Else it is killed, and its status tells that as well.
    """

    async def behaviour(worker: PodWorker) -> None:
        if after_lines is None:
            worker.schedule()
            await asyncio.sleep(PAUSE_S)
        elif not await _started(worker):
            return
        elif not await _killed(worker, after_lines):
            await worker.finish()
            return
        else:
            await worker.finish()
        worker.fail(
            "Evicted",
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi.",
            is_container_known=after_lines is not None,
        )

    return behaviour


def node_lost(after_lines: int = 1, *, noticed_after_s: float = 0.2) -> Behaviour:
    """Its node dies: the status stays, logs answer 500, then it is being deleted until somebody forces it."""

    async def behaviour(worker: PodWorker) -> None:
        if not await _started(worker):
            return
        await worker.log.reaches(after_lines)
        await worker.lose_node()
        await asyncio.sleep(noticed_after_s)
        condemn(worker.state, worker.pod)

    return behaviour


async def log_error(worker: PodWorker) -> None:
    """Runs, but every request for its log answers 500."""
    worker.log_refusal = 500
    await run(worker)


async def log_gone(worker: PodWorker) -> None:
    """Runs; once it has ended its log is not found."""
    worker.log_gone = True
    await run(worker)


async def succeed_without_running(worker: PodWorker) -> None:
    """Succeeded with exit code 0, but the command never ran: a false success."""
    worker.schedule()
    await asyncio.sleep(PAUSE_S)
    worker.succeed()


async def _started(worker: PodWorker) -> bool:
    await asyncio.sleep(PAUSE_S)
    worker.schedule()
    await asyncio.sleep(PAUSE_S)
    return await worker.start()


async def _killed(worker: PodWorker, after_lines: int) -> bool:
    await worker.log.reaches(after_lines)
    if worker.container is None or worker.container.ended:
        return False
    worker.container.kill()
    return True
