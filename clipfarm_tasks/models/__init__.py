"""Pure: the model families and the one training loop."""
