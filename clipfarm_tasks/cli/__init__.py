"""The command line: ``python -m clipfarm_tasks``."""
