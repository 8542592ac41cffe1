"""Pure: the four model families and the one training loop."""
