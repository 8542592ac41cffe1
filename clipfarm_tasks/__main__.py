"""``python -m clipfarm_tasks``."""

from clipfarm_tasks.cli.app import main

main()
