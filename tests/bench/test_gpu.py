import torch

from bench.epoch_inputs import epoch_inputs
from bench.rows.gpu import bf16


def test_bf16_autocast_is_on_and_moves_the_predictions_a_little():
    # On the CPU, which has it too: what is checked is that the epoch really runs under it.
    seconds, difference = bf16(epoch_inputs("concat_mlp", videos=400, width=8), torch.device("cpu"), repeats=2)
    assert seconds.runs == 2
    assert 0 < difference < 1
