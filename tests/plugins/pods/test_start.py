"""Which pods may still start: by what registries and runtimes say, and by how long it takes."""

import pytest
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodLaunchTimeoutException
from clipfarm_pod_start import PodRefusedError, Start
from kubernetes.client import models as k8s

IMAGE = "registry.example/clipfarm-trainer:1.0.0"
PULL = f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": '
# What containerd, CRI-O and registries say. The second form is that of a kubelet that repeats the error while it waits.
DOWN = [
    "failed to do request: Head https://registry.example/v2/: dial tcp 10.0.0.9:443: connect: connection refused",
    "failed to do request: Head https://registry.example/v2/: dial tcp: lookup registry.example: no such host",
    "failed to authorize: failed to fetch anonymous token: Get https://auth.example: net/http: TLS handshake timeout",
    "unexpected status from HEAD request to https://registry.example/v2/x: 503 Service Unavailable",
    "unexpected status code 500 Internal Server Error",
    "unexpected status from HEAD request to https://registry.example/v2/x: 502 Bad Gateway",
    "pull QPS exceeded",
    "toomanyrequests: You have reached your pull rate limit",
    "read tcp 10.0.0.2:40000->10.0.0.9:443: read: connection reset by peer",
    "unexpected EOF",
    "failed to copy: httpReadSeeker: failed open: dial tcp 10.0.0.9:443: i/o timeout",
    "something that nobody has seen before",
    "",
]
MISSING = [
    f"{IMAGE}: not found",
    "manifest unknown: manifest unknown",
    "pull access denied, repository does not exist or may require authorization: insufficient_scope",
    "unexpected status from HEAD request to https://registry.example/v2/x: 401 Unauthorized",
    "unexpected status from HEAD request to https://registry.example/v2/x: 403 Forbidden",
    "failed to authorize: failed to fetch oauth token: denied",
    "no match for platform in manifest: not found",
]


def pod(phase="Pending", reason=None, message=None, *, has_node=True, image=IMAGE):
    waiting = k8s.V1ContainerStateWaiting(reason=reason, message=message)
    status = k8s.V1ContainerStatus(
        name="base",
        image=image,
        image_id="",
        ready=False,
        restart_count=0,
        state=k8s.V1ContainerState(waiting=waiting) if reason else None,
    )
    condition = k8s.V1PodCondition(type="PodScheduled", status="True" if has_node else "False")
    return k8s.V1Pod(
        spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="base", image=image)]),
        status=k8s.V1PodStatus(phase=phase, conditions=[condition], container_statuses=[status] if reason else None),
    )


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def start(clock):
    return Start(schedule_timeout_s=1200, startup_timeout_s=600, clock=clock)


@pytest.mark.parametrize("said", DOWN)
@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff"])
def test_a_registry_that_is_down_is_waited_for_as_long_as_the_startup_may_take(start, clock, reason, said):
    message = PULL + said if reason == "ErrImagePull" else f'Back-off pulling image "{IMAGE}": ErrImagePull: {said}'
    waits = pod(reason=reason, message=message)
    for clock.now in (0, 300, 599):
        assert not start.has_happened(waits)
    clock.now = 600
    with pytest.raises(PodLaunchTimeoutException, match="too long to start: more than 600 s"):
        start.has_happened(waits)


@pytest.mark.parametrize("said", MISSING)
@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff"])
def test_an_image_that_is_not_there_or_not_ours_is_given_up_at_once_and_in_one_line(start, reason, said):
    with pytest.raises(PodRefusedError, match=f"^Image cannot be pulled: {reason} .*") as refused:
        start.has_happened(pod(reason=reason, message=f"rpc error: code = NotFound desc =\n{PULL}{said}"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("reason", ["InvalidImageName", "ErrImageNeverPull"])
def test_an_image_that_nobody_pulls_is_given_up_at_once(start, reason):
    with pytest.raises(PodRefusedError, match=reason):
        start.has_happened(pod(reason=reason))


@pytest.mark.parametrize("name", ["not-found", "denied", "unauthorized"])
def test_the_name_of_an_image_is_no_reason(start, name):
    image = f"registry.example/{name}:1"
    assert not start.has_happened(
        pod(reason="ErrImagePull", message=f'pull "{image}": dial tcp: no such host', image=image)
    )
    assert not start.has_happened(pod(reason="ImagePullBackOff", message=f'Back-off "{image}"', image=image))


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing", "CreateContainerConfigError"])
def test_what_is_no_image_is_waited_for(start, reason):
    assert not start.has_happened(pod(reason=reason, message='secret "clipfarm-s3" not found'))


@pytest.mark.parametrize("phase", ["Running", "Succeeded", "Failed"])
def test_a_pod_that_ran_has_started(start, phase):
    assert start.has_happened(pod(phase))


def test_time_for_a_node_and_time_to_start_are_counted_one_after_the_other(start, clock):
    for clock.now in (0, 1199):
        assert not start.has_happened(pod(has_node=False))
    for clock.now in (1199, 1798):
        assert not start.has_happened(pod())
    clock.now = 1799
    with pytest.raises(PodLaunchTimeoutException, match="to start"):
        start.has_happened(pod())


def test_without_a_node_it_is_given_up(start, clock):
    clock.now = 1200
    with pytest.raises(PodLaunchTimeoutException, match="too long to be scheduled: more than 1200 s"):
        start.has_happened(pod(has_node=False))
