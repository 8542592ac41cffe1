"""Memory that was freed but is still the process's: allocators keep it for later."""

import ctypes
import os

_ARENA_MAX = -8  # M_ARENA_MAX of glibc's malloc.h


def one_heap() -> None:
    """Let the threads that start from now on allocate from the process's one heap.

    By default glibc gives threads heaps of their own, of up to 64 MB, and never trims the end of those: after an update
    of 50,000 videos' vectors 0.4 GB would stay that nothing uses, and that `give_back` cannot reach. Elsewhere it does
    nothing.

    All of this holds only where it is called first: heaps that earlier threads made, or that a forked child inherits,
    are used again, and once there are more than a few of them their limit is fixed. Where ``MALLOC_ARENA_MAX`` is set
    it does nothing: glibc has read that at the start, and what an operator asks for stands.
    """
    if os.environ.get("MALLOC_ARENA_MAX"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Return freed memory to the system.

    After an update of 40,000 videos' vectors 0.4 GB of it lie about, and a worker that goes on to train needs them
    elsewhere. Without glibc only Arrow's part is returned.
    """
    import pyarrow as pa  # here, not above: a tenth of a second that whoever only opens a store need not pay

    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
