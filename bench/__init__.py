"""The benchmark: every figure the README states about speed and memory, measured against what it is compared with."""
