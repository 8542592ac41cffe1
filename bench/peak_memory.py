"""The most memory this process has had."""

from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_bytes() -> int:
    """Peak resident memory so far (VmHWM).

    Raises:
        OSError: the system does not tell; only Linux does.
    """
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"expected VmHWM in {_STATUS}, got none: peak memory can be measured on Linux only")
