"""The commit of a run: what an image says, else the checkout, else 'unknown' - never a failure."""

import shutil
import subprocess
from importlib.metadata import version

import pytest

from clipfarm_tasks import __version__, code_version


@pytest.fixture
def git(tmp_path, monkeypatch):
    """A checkout of its own with one commit, whose subfolder the package is taken to lie in."""
    package = tmp_path / "checkout" / "clipfarm_tasks"
    package.mkdir(parents=True)
    (package / "code_version.py").write_text("")
    monkeypatch.setattr(code_version, "_PACKAGE", package)
    monkeypatch.delenv("CLIPFARM_GIT_SHA", raising=False)
    # No outer repository and no configuration of the user's own.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")

    program = shutil.which("git")

    def run(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        answer = subprocess.run(
            (program, *who, *arguments), cwd=package.parent, check=True, capture_output=True, text=True
        )
        return answer.stdout.strip()

    return run


def commit_all(git):
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    return git("rev-parse", "HEAD")


def test_the_checkouts_commit_in_full_whatever_its_tags(git):
    sha = commit_all(git)
    git("tag", "-a", "v1.2.3", "-m", "a release")
    assert code_version.code_version().git_sha == sha
    assert code_version.code_version().package == __version__


def test_changed_code_is_never_taken_for_the_commit(git, tmp_path):
    sha = commit_all(git)
    (tmp_path / "checkout" / "clipfarm_tasks" / "code_version.py").write_text("changed = True")
    assert code_version.code_version().git_sha == f"{sha}-dirty"


def test_what_an_image_says_comes_first(git, monkeypatch):
    commit_all(git)
    monkeypatch.setenv("CLIPFARM_GIT_SHA", "from-the-image")
    assert code_version.code_version().git_sha == "from-the-image"
    monkeypatch.setenv("CLIPFARM_GIT_SHA", "")
    assert code_version.code_version().git_sha == git("rev-parse", "HEAD")


def test_outside_of_a_checkout_and_before_the_first_commit(git):
    assert code_version.code_version().git_sha == "unknown"
    git("init", "-q")
    assert code_version.code_version().git_sha == "unknown"


def test_without_git_installed(git, monkeypatch, tmp_path):
    commit_all(git)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version.code_version().git_sha == "unknown"


def test_library_versions_are_the_installed_ones():
    found = code_version.library_versions()
    assert list(found) == ["python", "numpy", "pandas", "scikit_learn", "torch"]
    assert found["scikit_learn"] == version("scikit-learn")
    assert all(found.values())


def test_a_library_that_is_not_installed_is_absent(monkeypatch):
    monkeypatch.setattr(code_version, "_LIBRARIES", ("no-such-library",))
    assert code_version.library_versions()["no_such_library"] == "absent"


def test_the_source_digest_tells_content_and_name_and_nothing_else(tmp_path, monkeypatch):
    def digest_of(folder, **files):
        package = tmp_path / folder
        package.mkdir()
        for name, text in files.items():
            (package / f"{name}.py").write_text(text)
        (package / f"{folder}.pyc").write_text(folder)
        monkeypatch.setattr(code_version, "_PACKAGE", package)
        return code_version.source_sha256()

    first = digest_of("one", a="x = 1", b="y = 2")
    assert digest_of("two", b="y = 2", a="x = 1") == first
    assert digest_of("three", a="x = 1", b="y = 3") != first
    assert digest_of("four", a="x = 1", c="y = 2") != first
    assert digest_of("five", a="x = 1y = 2", b="") != first
