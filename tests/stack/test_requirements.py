"""The lock holds every direct requirement, and nothing that is not pinned."""

import re
from importlib.metadata import distributions

import pytest

OLDEST = "3.11.2"  # Debian 12's
PYTHONS = [{"extra": "", "python_version": "3.11", "python_full_version": version} for version in (OLDEST, "3.11.99")]
PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.]+)$")


def pins(path):
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert lines
    unpinned = [line for line in lines if not PIN.match(line)]
    assert not unpinned, f"expected name==version, got {unpinned}, in {path.name}"
    named = [PIN.match(line).groups() for line in lines]
    found = {normal(name): version for name, version in named}
    assert len(found) == len(lines), f"a package is named twice in {path.name}"
    return found


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def direct(repository):
    return pins(repository / "requirements.in")


@pytest.fixture(scope="module")
def lock(repository):
    return pins(repository / "requirements.txt")


def test_every_direct_requirement_is_locked_at_its_version(direct, lock):
    assert {name: lock.get(name) for name in direct} == direct


def test_the_lock_is_transitive(lock):
    """Each requirement of each locked package that applies to any Python 3.11 is locked too."""
    from packaging.requirements import Requirement

    visited = 0
    for package in distributions():
        if normal(package.name) not in lock:
            continue
        visited += 1
        for text in package.requires or []:
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate(python) for python in PYTHONS):
                if normal(needed.name).startswith(("nvidia-", "cuda-", "triton")):
                    continue  # of torch's CUDA build, which pins them itself
                assert normal(needed.name) in lock, f"{package.name} needs {text}"
    assert visited == len(lock)


def test_every_locked_package_runs_on_the_oldest_python(lock):
    from packaging.specifiers import SpecifierSet

    wanted = {
        normal(package.name): package.metadata.get("Requires-Python", "")
        for package in distributions()
        if normal(package.name) in lock
    }
    assert wanted.keys() == lock.keys()
    assert {name: rule for name, rule in wanted.items() if OLDEST not in SpecifierSet(rule)} == {}


def test_installed_versions_are_the_locked_ones(lock):
    installed = {normal(package.name): package.version.partition("+")[0] for package in distributions()}
    assert {name: installed.get(name) for name in lock} == lock


def test_no_cuda_build_and_no_installer_is_locked(lock):
    assert not [name for name in lock if name.startswith(("nvidia-", "cuda-", "triton")) or name == "pip"]
    assert "+" not in lock["torch"]
