"""A Kubernetes API with a node that runs pods as subprocesses, and a client of it."""

import pytest
from kubernetes import client, config

from tests.kubernetes import pods
from tests.kubernetes.api_server import KubernetesApi


@pytest.fixture
def api():
    """The API server; namespace ``default``."""
    with KubernetesApi() as server:
        yield server


@pytest.fixture
def core_of(tmp_path):
    """Makes a synchronous client of a server, configured from a kubeconfig file as a person's would be."""

    def connect(server):
        configuration = client.Configuration()
        config.load_kube_config(str(server.kubeconfig(tmp_path / "kubeconfig")), client_configuration=configuration)
        return client.CoreV1Api(client.ApiClient(configuration))

    return connect


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
