"""Watches, and the asynchronous client that the triggers use."""

import asyncio
import threading

import kubernetes_asyncio
import pytest
from kubernetes import client, watch

from tests.kubernetes.behaviours import pending_forever
from tests.kubernetes.pods import NAMESPACE, pod


def version(core):
    return core.list_namespaced_pod(NAMESPACE).metadata.resource_version


def test_a_watch_shows_every_phase_in_order_to_the_end(api, core):
    seen = []

    def follow(since):
        for change in watch.Watch().stream(core.list_namespaced_pod, NAMESPACE, resource_version=since):
            seen.append((change["type"], change["object"].status.phase))
            if change["type"] == "DELETED":
                return

    watching = threading.Thread(target=follow, args=[version(core)])
    watching.start()
    core.create_namespaced_pod(NAMESPACE, pod())
    api.wait_for("job", "Succeeded")
    core.delete_namespaced_pod("job", NAMESPACE)
    watching.join(60)
    assert not watching.is_alive()
    assert seen[0] == ("ADDED", "Pending")
    phases = [phase for _, phase in seen]
    assert [*dict.fromkeys(phases)] == ["Pending", "Running", "Succeeded"]
    assert phases == sorted(phases, key=["Pending", "Running", "Succeeded"].index)
    assert seen[-1] == ("DELETED", "Succeeded")


def test_a_watch_of_all_begins_with_what_is_there_and_ends_in_time(api, core):
    api.behave(pending_forever)
    core.create_namespaced_pod(NAMESPACE, pod())
    changes = [*watch.Watch().stream(core.list_namespaced_pod, NAMESPACE, timeout_seconds=1)]
    assert changes[0]["type"] == "ADDED"
    assert [request.query["timeoutSeconds"] for request in api.requests if "watch" in request.query] == ["1"]


def test_a_watch_resumes_after_a_version(api, core):
    core.create_namespaced_pod(NAMESPACE, pod())
    api.wait_for("job", "Succeeded")
    since = version(core)
    core.patch_namespaced_pod("job", NAMESPACE, {"metadata": {"labels": {"late": "yes"}}})
    stream = watch.Watch().stream(core.list_namespaced_pod, NAMESPACE, resource_version=since, timeout_seconds=1)
    changes = [(change["type"], change["object"].metadata.labels) for change in stream]
    assert changes == [("MODIFIED", {"late": "yes"})]


def test_events_are_watched(api, core):
    core.create_namespaced_pod(NAMESPACE, pod("one"))
    core.create_namespaced_pod(NAMESPACE, pod("two"))
    options = {"field_selector": "involvedObject.name=two", "timeout_seconds": 1}
    stream = watch.Watch().stream(core.list_namespaced_event, NAMESPACE, **options)
    assert [change["object"].reason for change in stream] == ["Scheduled", "Started"]


async def play_asynchronously(path):
    configuration = kubernetes_asyncio.client.Configuration()
    await kubernetes_asyncio.config.load_kube_config(str(path), client_configuration=configuration)
    async with kubernetes_asyncio.client.ApiClient(configuration) as connected:
        core = kubernetes_asyncio.client.CoreV1Api(connected)
        since = (await core.list_namespaced_pod(NAMESPACE)).metadata.resource_version
        await core.create_namespaced_pod(NAMESPACE, pod())
        phases = []
        async with kubernetes_asyncio.watch.Watch() as watching:
            async for change in watching.stream(core.list_namespaced_pod, NAMESPACE, resource_version=since):
                phases.append(change["object"].status.phase)
                if phases[-1] == "Succeeded":
                    break
        response = await core.read_namespaced_pod_log("job", NAMESPACE, follow=False, _preload_content=False)
        log = await response.read()
        patched = await core.patch_namespaced_pod("job", NAMESPACE, {"metadata": {"labels": {"a": "b"}}})
        events = await core.list_namespaced_event(NAMESPACE, field_selector="involvedObject.name=job")
        await core.delete_namespaced_pod("job", NAMESPACE, body=client.V1DeleteOptions(grace_period_seconds=0))
        with pytest.raises(kubernetes_asyncio.client.ApiException) as gone:
            await core.read_namespaced_pod("job", NAMESPACE)
        return phases, log, patched.metadata.labels, [event.reason for event in events.items], gone.value.status


def test_the_asynchronous_client_sees_the_same(api, tmp_path):
    path = api.kubeconfig(tmp_path / "kubeconfig")
    phases, log, labels, reasons, gone = asyncio.run(play_asynchronously(path))
    assert [*dict.fromkeys(phases)] == ["Pending", "Running", "Succeeded"]
    assert (log, labels, reasons, gone) == (b"done\n", {"a": "b"}, ["Scheduled", "Started"], 404)
