"""CPU time of this process and of the servers beside it: on one machine they compete for the same cores."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import psutil

from clipfarm_tasks.stack.process import ServerProcess


@contextmanager
def counted(servers: Iterable[ServerProcess]) -> Iterator[dict[str, float]]:
    """CPU seconds that pass during the block: of this process, and of ``servers`` with all they started.

    The dictionary is filled when the block ends.
    """
    found: dict[str, float] = {}
    watched = [process for server in servers for process in server.members()]
    own_before, servers_before = _spent([psutil.Process()]), _spent(watched)
    yield found
    found["CPU of this process"] = _spent([psutil.Process()]) - own_before
    found["CPU of the S3 server"] = _spent(watched) - servers_before


def _spent(processes: Iterable[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return float(sum(time.user + time.system for time in times))
