import random

import torch
from sklearn.utils import check_random_state

from clipfarm_tasks.models.seeds import seed_python, seed_torch


def draws():
    # check_random_state(None) is NumPy's global generator: what a library uses that was given no seed.
    return random.getrandbits(60), check_random_state(None).random_sample(), torch.rand(1).item()


def test_one_seed_repeats_python_numpy_and_torch():
    seed_torch(3)
    first = draws()
    seed_torch(3)
    assert draws() == first
    seed_torch(4)
    assert not set(draws()) & set(first)


def test_cudnn_is_held_to_deterministic_kernels():
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
    seed_torch(0)
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == (True, False)


def test_the_python_seed_leaves_torch_alone():
    seed_torch(3)
    first = draws()
    seed_python(3)
    second = draws()
    assert second[:2] == first[:2]
    assert second[2] != first[2]
