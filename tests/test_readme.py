"""The README's code blocks are executed, and what it names exists."""

import os
import re
import shlex
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def readme(repository_root):
    return (repository_root / "README.md").read_text()


@pytest.fixture(scope="module")
def repository_root(request):
    return request.config.rootpath


def commands(readme):
    blocks = re.findall(r"```bash\n(.*?)```", readme, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


@pytest.mark.integration
def test_every_python_command_runs_in_the_order_of_the_text(readme, repository_root, bucket, s3_server):
    lines = [line for line in commands(readme) if not line.startswith(("make ", ". .venv/"))]
    assert len(lines) >= 6
    environment = os.environ | s3_server.environment() | {"CLIPFARM_BUCKET": bucket.bucket}
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "python", line
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=repository_root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        # No run on this bucket has trained everything, which is what freshness asks for.
        expected = 2 if arguments[2] == "freshness" else 0
        assert done.returncode == expected, f"{line}\n{done.stdout}\n{done.stderr}"


def test_every_make_target_it_names_exists(readme, repository_root):
    named = set(re.findall(r"`?make ([a-z]+)`?", readme))
    targets = set(re.findall(r"^([a-z]+):", (repository_root / "Makefile").read_text(), flags=re.MULTILINE))
    assert {"demo", "install", "test", "up", "lint", "types"} <= named
    assert named <= targets


def test_every_setting_it_names_is_read(readme):
    from clipfarm_tasks import config

    table = readme.split("| variable |")[1].split("\n\n")[0]
    named = set(re.findall(r"`(CLIPFARM_[A-Z0-9_]+)`", table)) - {"CLIPFARM_GIT_SHA"}
    described = {str(field.description).split(":")[0] for field in config.Settings.model_fields.values()}
    assert named == {name for name in described if name.startswith("CLIPFARM_")}


def test_every_folder_and_file_it_names_exists(readme, repository_root):
    table = readme.split("## Where to find things")[1]
    names = re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE)
    assert len(names) >= 8
    for cell in names:
        for name in re.findall(r"`([^`]+)`", cell):
            for path in _expand(name, cell):
                assert (repository_root / path).exists(), path


def _expand(name, cell):
    if "{" in name:
        head, inner, tail = re.match(r"(.*)\{(.*)\}(.*)", name).groups()
        return [f"{head}{part}{tail}" for part in inner.split(",")]
    if name in {"models/", "evaluation/"} and "clipfarm_tasks/data/" in cell:
        return [f"clipfarm_tasks/{name}"]
    return [name]
