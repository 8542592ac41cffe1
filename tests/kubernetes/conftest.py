"""A Kubernetes API with a node that runs pods as subprocesses, and a client of it."""

import pytest

from tests.kubernetes import pods
from tests.kubernetes.api_server import KubernetesApi
from tests.kubernetes.cluster_client import core_client


@pytest.fixture
def api():
    """The API server; namespace ``default``."""
    with KubernetesApi() as server:
        yield server


@pytest.fixture
def core_of(tmp_path):
    """Makes a client of a server."""
    return lambda server: core_client(server, tmp_path)


@pytest.fixture
def core(api, core_of):
    """A client of ``api``."""
    return core_of(api)


@pytest.fixture
def create(core):
    """Creates the pod that `pods.pod` describes."""

    def create(*args, **kwargs):
        return core.create_namespaced_pod(pods.NAMESPACE, pods.pod(*args, **kwargs))

    return create


@pytest.fixture
def state(core):
    """State of a pod's only container."""

    def state():
        return core.read_namespaced_pod("job", pods.NAMESPACE).status.container_statuses[0].state

    return state
