"""Which code is running: the package version, the commit, and the source itself."""

import hashlib
import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from clipfarm_tasks import __version__
from clipfarm_tasks.run_config import CodeVersion

_PACKAGE = Path(__file__).parent
_GIT_TIMEOUT_S = 10
_LIBRARIES = ("numpy", "pandas", "scikit-learn", "torch")


def code_version() -> CodeVersion:
    """Package version, commit (``CLIPFARM_GIT_SHA`` where it is set, else the checkout's) and digest of the source."""
    return CodeVersion(
        package=__version__,
        git_sha=os.environ.get("CLIPFARM_GIT_SHA") or _checkout_sha(),
        source_sha256=source_sha256(),
    )


def source_sha256() -> str:
    """sha256 (hex) over the path and content of every module of the package: equal digests, equal code."""
    stats = ((path, path.stat()) for path in sorted(_PACKAGE.rglob("*.py")))
    return _digest(_PACKAGE, tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in stats))


@lru_cache(maxsize=1)
def _digest(root: Path, modules: tuple[tuple[Path, int, int], ...]) -> str:
    """Digest of the modules (path, time of change in ns, bytes): read again only when one of them was written."""
    digest = hashlib.sha256()
    for path, _, _ in modules:
        body = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(body)}\n".encode())
        digest.update(body)
    return digest.hexdigest()


def library_versions() -> dict[str, str]:
    """Versions installed here: python, numpy, pandas, scikit_learn, torch; ``absent`` for one that is not."""
    return {"python": platform.python_version(), **{name.replace("-", "_"): _installed(name) for name in _LIBRARIES}}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _checkout_sha() -> str:
    command = ("git", "describe", "--always", "--dirty", "--abbrev=40", "--match=")
    try:
        answer = subprocess.run(
            command, cwd=_PACKAGE, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip()
