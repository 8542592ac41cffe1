"""The API as both clients of the provider see it: objects, versions, selectors, watches, faults."""

import json
import time
from pathlib import Path

import pytest
import urllib3
from airflow.sdk import Connection
from kubernetes import client, watch
from kubernetes.client import ApiException

from tests.kubernetes.api_server import KubernetesApi
from tests.kubernetes.behaviours import pending_forever, succeed_without_running
from tests.kubernetes.pods import LONG, NAMESPACE, pod


def refused(code, call, *args, **kwargs):
    with pytest.raises(ApiException) as caught:
        call(*args, **kwargs)
    assert caught.value.status == code
    return json.loads(caught.value.body)


def names(listing):
    return [found.metadata.name for found in listing.items]


def test_a_created_pod_has_what_the_server_adds_and_keeps_what_was_sent(api, core):
    sent = pod(labels={"a": "1"})
    created = core.create_namespaced_pod(NAMESPACE, sent)
    read = core.read_namespaced_pod("job", NAMESPACE)
    assert read.metadata.uid == created.metadata.uid
    assert read.metadata.creation_timestamp.tzinfo is not None
    assert int(read.metadata.resource_version) >= int(created.metadata.resource_version)
    assert read.spec.termination_grace_period_seconds == 30
    assert read.spec.containers[0].args == sent["spec"]["containers"][0]["args"]
    assert api.created == [sent]


def test_a_name_is_taken_until_the_pod_is_gone(api, core):
    api.behave(succeed_without_running)
    first = core.create_namespaced_pod(NAMESPACE, pod())
    assert refused(409, core.create_namespaced_pod, NAMESPACE, pod())["reason"] == "AlreadyExists"
    assert len(api.created) == 1
    api.wait_for("job", "Succeeded")
    core.delete_namespaced_pod("job", NAMESPACE)
    assert core.create_namespaced_pod(NAMESPACE, pod()).metadata.uid != first.metadata.uid


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body["metadata"].pop("name"), "metadata.name: Required value"),
        (lambda body: body["metadata"].update(name="Upper_case"), "metadata.name: Invalid value"),
        (lambda body: body["metadata"].update(labels={"run": "manual__2026-03-01T00:00:00+00:00"}), "metadata.labels"),
        (lambda body: body["metadata"].update(labels={"run": "x" * 64}), "metadata.labels"),
        (lambda body: body.pop("spec"), "spec.containers: Required value"),
        (lambda body: body["spec"].pop("containers"), "containers"),
        (lambda body: body["spec"]["containers"][0].pop("name"), "name"),
        (lambda body: body["spec"]["containers"][0].pop("image"), r"containers[0].image: Required value"),
        (lambda body: body["spec"]["containers"][0].update(resources={"limits": {"cpu": "two"}}), "not a quantity"),
        (
            lambda body: body["spec"]["containers"][0].update(
                resources={"limits": {"memory": "1Gi"}, "requests": {"memory": "2Gi"}}
            ),
            "less than or equal to its limit",
        ),
    ],
)
def test_what_is_not_a_pod_is_refused(api, core, change, message):
    body = pod()
    change(body)
    answer = refused(422, core.create_namespaced_pod, NAMESPACE, body)
    assert answer["reason"] == "Invalid"
    assert message in answer["message"]
    assert api.created == api.pods() == []


def test_another_namespace_does_not_exist(core):
    refused(404, core.create_namespaced_pod, "elsewhere", pod())
    moved = pod()
    moved["metadata"]["namespace"] = "elsewhere"
    refused(400, core.create_namespaced_pod, NAMESPACE, moved)
    assert core.read_namespace(NAMESPACE).metadata.name == NAMESPACE
    assert core.list_namespaced_pod("elsewhere").items == []


def test_who_has_no_token_is_refused(api):
    stranger = client.CoreV1Api(client.ApiClient(client.Configuration(host=api.url)))
    refused(401, stranger.list_namespaced_pod, NAMESPACE)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("team=a", ["one", "two"]),
        ("team==a,size=big", ["two"]),
        ("team=a,checked!=True", ["one"]),
        ("checked!=True,!worker", ["one"]),
        ("!worker", ["one", "two"]),
        ("worker", ["three"]),
        ("team in (b, c)", ["three"]),
        ("team notin (b, c)", ["one", "two"]),
        ("size!=big", ["one", "three"]),
        ("", ["one", "two", "three"]),
    ],
)
def test_label_selectors(core, api, selector, expected):
    api.behave(pending_forever, times=3)
    labels = [
        {"team": "a"},
        {"team": "a", "size": "big", "checked": "True"},
        {"team": "b", "worker": "", "checked": "no"},
    ]
    if selector == "checked!=True,!worker":
        labels[2]["worker"] = "yes"
    for name, values in zip(["one", "two", "three"], labels, strict=True):
        core.create_namespaced_pod(NAMESPACE, pod(name, labels=values))
    assert names(core.list_namespaced_pod(NAMESPACE, label_selector=selector)) == expected


def test_selectors_that_cannot_be_read_are_refused(core):
    refused(400, core.list_namespaced_pod, NAMESPACE, label_selector="a in b in c")
    refused(400, core.list_namespaced_pod, NAMESPACE, field_selector="status.phase")


def test_field_selectors_choose_pods_and_events(api, core):
    api.behave(pending_forever)
    core.create_namespaced_pod(NAMESPACE, pod("one"))
    core.create_namespaced_pod(NAMESPACE, pod("two"))
    api.wait_for("two", "Succeeded")
    assert names(core.list_namespaced_pod(NAMESPACE, field_selector="status.phase=Pending")) == ["one"]
    assert names(core.list_pod_for_all_namespaces(field_selector="status.phase!=Pending")) == ["two"]
    events = core.list_namespaced_event(NAMESPACE, field_selector="involvedObject.name=two")
    assert [event.reason for event in events.items] == ["Scheduled", "Started"]
    assert {event.involved_object.field_path for event in events.items} == {"spec.containers{base}"}


def test_a_patch_changes_labels_and_nothing_that_is_fixed(api, core):
    api.behave(pending_forever)
    core.create_namespaced_pod(NAMESPACE, pod(labels={"a": "1", "b": "2"}))
    change = {"metadata": {"labels": {"b": None, "already_checked": "True"}}, "status": {"phase": "Succeeded"}}
    patched = core.patch_namespaced_pod("job", NAMESPACE, change)
    assert patched.metadata.labels == {"a": "1", "already_checked": "True"}
    assert patched.status.phase == "Pending"
    refused(422, core.patch_namespaced_pod, "job", NAMESPACE, {"spec": {"restartPolicy": "Always"}})
    refused(422, core.patch_namespaced_pod, "job", NAMESPACE, {"metadata": {"uid": "mine"}})
    refused(422, core.patch_namespaced_pod, "job", NAMESPACE, {"metadata": {"labels": {"a": "no spaces"}}})
    refused(409, core.patch_namespaced_pod, "job", NAMESPACE, {"metadata": {"resourceVersion": "1"}})
    refused(404, core.patch_namespaced_pod, "none", NAMESPACE, change)


def test_preconditions_protect_a_successor(api, core):
    api.behave(pending_forever)
    uid = core.create_namespaced_pod(NAMESPACE, pod()).metadata.uid
    options = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="another"))
    refused(409, core.delete_namespaced_pod, "job", NAMESPACE, body=options)
    options.preconditions.uid = uid
    core.delete_namespaced_pod("job", NAMESPACE, body=options)
    refused(404, core.delete_namespaced_pod, "job", NAMESPACE)


def test_pods_are_deleted_by_label(api, core):
    api.behave(pending_forever, times=3)
    for name, run in (("one", "x"), ("two", "x"), ("three", "y")):
        core.create_namespaced_pod(NAMESPACE, pod(name, labels={"run": run}))
    core.delete_collection_namespaced_pod(NAMESPACE, label_selector="run=x")
    assert names(core.list_namespaced_pod(NAMESPACE)) == ["three"]


def test_a_fault_strikes_what_it_names_and_no_more(api, core):
    fault = api.fail("POST", "/pods$", 429, times=2, headers={"Retry-After": "3"})
    for _ in range(2):
        with pytest.raises(ApiException) as caught:
            core.create_namespaced_pod(NAMESPACE, pod())
        assert (caught.value.status, caught.value.headers["Retry-After"]) == (429, "3")
    assert api.created == []
    core.list_namespaced_pod(NAMESPACE)
    core.create_namespaced_pod(NAMESPACE, pod())
    assert fault.struck == 2


def test_a_lost_reply_is_work_done(api, core):
    api.behave(pending_forever)
    api.fail("POST", "/pods$", 500, after=True)
    refused(500, core.create_namespaced_pod, NAMESPACE, pod())
    refused(409, core.create_namespaced_pod, NAMESPACE, pod())
    api.fail("GET", "labelSelector=a", 503, body={"message": "mine"})
    assert refused(503, core.list_namespaced_pod, NAMESPACE, label_selector="a=b") == {"message": "mine"}


def test_a_dry_run_is_refused(api, core):
    refused(400, core.create_namespaced_pod, NAMESPACE, pod(), dry_run="All")
    assert api.created == []


def test_a_connection_is_cut_before_or_after_the_work(api, core):
    api.behave(pending_forever, times=2)
    for after in (False, True):
        api.cut("POST", "/pods$", after=after)
        with pytest.raises(urllib3.exceptions.HTTPError):
            core.create_namespaced_pod(NAMESPACE, pod())
        assert len(api.created) == after


def test_an_answer_hangs_longer_than_the_client_waits(api, core):
    api.behave(pending_forever, times=2)
    for after in (False, True):
        api.hang("POST", "/pods$", 5, after=after)
        with pytest.raises(urllib3.exceptions.HTTPError):
            core.create_namespaced_pod(NAMESPACE, pod(), _request_timeout=0.3)
        time.sleep(0.1)
        assert len(api.created) == after
    fault = api.hang("GET", "/pods/job$", 5)
    api.heal()
    core.read_namespaced_pod("job", NAMESPACE)
    assert fault.struck == 0


def test_requests_are_told_apart_by_verb_and_resource(api, core):
    core.create_namespaced_pod(NAMESPACE, pod(code=LONG))
    api.wait_for("job", "Running")
    core.read_namespaced_pod_log("job", NAMESPACE)
    core.list_namespaced_event(NAMESPACE)
    core.patch_namespaced_pod("job", NAMESPACE, {"metadata": {"labels": {"a": "b"}}})
    [*watch.Watch().stream(core.list_namespaced_pod, NAMESPACE, timeout_seconds=1)]
    refused(400, core.connect_get_namespaced_pod_exec, "job", NAMESPACE, command="ls")
    core.delete_namespaced_pod("job", NAMESPACE, grace_period_seconds=0)
    core.delete_collection_namespaced_pod(NAMESPACE)
    refused(404, core.list_node)
    assert [request.verb for request in api.requests] == [
        ("create", "pods"),
        ("get", "pods/log"),
        ("list", "events"),
        ("patch", "pods"),
        ("watch", "pods"),
        ("create", "pods/exec"),
        ("delete", "pods"),
        ("deletecollection", "pods"),
        ("list", "nodes"),
    ]


def test_the_connection_holds_no_token_and_the_file_it_names_does(api):
    connection = Connection.from_json(api.connection())
    assert api.token not in api.connection()
    assert connection.conn_type == "kubernetes"
    assert connection.extra_dejson["namespace"] == NAMESPACE
    assert api.token in Path(connection.extra_dejson["kube_config_path"]).read_text()


def test_a_stopped_server_is_gone():
    with KubernetesApi() as api:
        url = api.url
    with pytest.raises(urllib3.exceptions.HTTPError):
        urllib3.PoolManager(retries=False).request("GET", url, timeout=1)
