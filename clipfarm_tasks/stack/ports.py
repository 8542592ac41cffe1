"""Free TCP ports on the loopback interface."""

import random
import socket
from contextlib import ExitStack

from clipfarm_tasks.stack.errors import StackError

LOOPBACK = "127.0.0.1"
# Below the range from which Linux picks the source ports of outgoing connections: one of those could take a port
# between the moment it was found free and the moment the server binds it.
_LOWEST, _HIGHEST = 15_000, 32_000


def free_ports(count: int, also: int = 0) -> list[int]:
    """Find ``count`` different ports that nothing listens on.

    All are held together while searching, so they differ; they are released on return.

    Args:
        count: how many ports.
        also: if not 0, the port this much higher must be free too, for servers that derive one from the other.

    Raises:
        StackError: too few ports are free.
    """
    found: list[int] = []
    candidates = random.SystemRandom().sample(range(_LOWEST, _HIGHEST), _HIGHEST - _LOWEST)
    with ExitStack() as held:
        for port in candidates:
            if len(found) == count:
                break
            if all(_hold(candidate, held) for candidate in {port, port + also}):
                found.append(port)
    if len(found) < count:
        raise StackError(
            f"expected {count} free ports between {_LOWEST} and {_HIGHEST}, got {len(found)}, on {LOOPBACK}"
        )
    return found


def _hold(port: int, held: ExitStack) -> bool:
    holder = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    try:
        holder.bind((LOOPBACK, port))
    except OSError:
        return False
    return True
