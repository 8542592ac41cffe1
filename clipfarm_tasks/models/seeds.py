"""One seed for every source of randomness a fit may touch."""

import random

from numpy.random import MT19937
from numpy.random.mtrand import set_bit_generator


def seed_python(seed: int) -> None:
    """Seed the global generators of Python and NumPy; all that ridge needs, and it costs no torch import."""
    random.seed(seed)
    # The generator behind np.random.*: what a library falls back to when nobody hands it one.
    set_bit_generator(MT19937(seed))


def seed_torch(seed: int) -> None:
    """Seed Python, NumPy and torch on every device, and hold cuDNN to deterministic kernels."""
    import torch

    seed_python(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
