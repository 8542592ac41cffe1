"""A synchronous client of a cluster, configured from a kubeconfig file as a person's would be."""

from kubernetes import client, config


def core_client(server, folder):
    """The core API of ``server``; the file with its token lies in ``folder``."""
    configuration = client.Configuration()
    config.load_kube_config(str(server.kubeconfig(folder / "kubeconfig")), client_configuration=configuration)
    return client.CoreV1Api(client.ApiClient(configuration))
