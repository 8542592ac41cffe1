"""``python -m clipfarm_tasks``."""

from clipfarm_tasks.cli.first_process import end_on_sigterm


def start() -> None:
    """Run the command line. Its imports take a second, in which SIGTERM may come already."""
    end_on_sigterm()
    from clipfarm_tasks.cli.app import main

    main()


start()
