"""Where the tensors of a fit live."""

import torch

from clipfarm_tasks.errors import ConfigError
from clipfarm_tasks.families import Device


def resolve_device(device: Device) -> torch.device:
    """The torch device for a request; ``auto`` takes CUDA when there is one.

    Raises:
        ConfigError: ``cuda`` was asked for and torch sees no CUDA device.
    """
    available = torch.cuda.is_available()
    if device is Device.CUDA and not available:
        raise ConfigError(
            f"expected a CUDA device for device=cuda, got none in torch {torch.__version__}: "
            "use device=auto or device=cpu, or run where torch has CUDA and a GPU is visible"
        )
    return torch.device("cuda" if available and device is not Device.CPU else "cpu")
