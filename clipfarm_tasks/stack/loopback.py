"""The rule that no proxy is ever asked for a server of this machine."""

from collections.abc import Mapping

from clipfarm_tasks.stack.ports import LOOPBACK

_HOSTS = (LOOPBACK, "localhost", "::1")
_NAMES = ("NO_PROXY", "no_proxy")  # programs differ in which one they read, and in which one they prefer


def unproxied(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that keep loopback from the proxies of ``environment``; what was exempt there stays exempt.

    Examples:
        >>> unproxied({"HTTP_PROXY": "http://proxy.example:3128", "NO_PROXY": ".example"})["no_proxy"]
        '.example,127.0.0.1,localhost,::1'
    """
    exempt = [host.strip() for name in _NAMES for host in environment.get(name, "").split(",") if host.strip()]
    hosts = "*" if "*" in exempt else ",".join(dict.fromkeys([*exempt, *_HOSTS]))  # a star counts only if it is alone
    return dict.fromkeys(_NAMES, hosts)
