"""Which code is running: the package version and the commit."""

import os
import subprocess
from pathlib import Path

from clipfarm_tasks import __version__
from clipfarm_tasks.config import CodeVersion

_GIT_TIMEOUT_S = 10


def code_version() -> CodeVersion:
    """Package version and git commit: ``CLIPFARM_GIT_SHA`` where an image sets it, else the checkout's own."""
    return CodeVersion(package=__version__, git_sha=os.environ.get("CLIPFARM_GIT_SHA") or _checkout_sha())


def _checkout_sha() -> str:
    command = ("git", "describe", "--always", "--dirty", "--abbrev=40", "--match=")
    try:
        answer = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip()
