"""Mutation testing of `data/`, `models/` and `evaluation/`: which changes of a module would its own tests not notice?

    [AT_ONCE=4] make mutants [MODULE=clipfarm_tasks/evaluation/bootstrap.py]

Each module has a folder of its own under ``.clipfarm/mutants/``, where mutmut finds the package with that module alone
to mutate, and the tests that mirror it. What is done is kept there: a run that was cut off goes on where it stopped;
once the tests have changed, what had survived is tried again. Without its folder a module starts from nothing.

`equal_mutants.toml` says which other tests a module has, and which survivors no test could tell from it, and why. The
exit code is 1 where another mutant survived.
"""

import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".clipfarm" / "mutants"
ROOMS = ("evaluation", "models", "data")
KNOWN = tomllib.loads((Path(__file__).parent / "equal_mutants.toml").read_text())
# pytest's exit codes, and mutmut's for a mutant without a test: it survived. Another code means that it was killed.
SURVIVED = (0, 5, 33)
UNDECIDED = (None, 2, 3, 4)
MEMORY = 16 * 2**30  # bytes of address space: a loop that never ends may be a list that grows

# The time limits are seconds of one mutant's tests: (their time without a mutant + constant) * multiplier.
SETTINGS = """[mutmut]
source_paths = clipfarm_tasks
only_mutate = {module}
also_copy =
    plugins
    pyproject.toml
pytest_add_cli_args_test_selection =
{tests}
pytest_add_cli_args =
    -p
    no:cacheprovider
process_isolation = forkserver
timeout_multiplier = 5
timeout_constant = 4
track_dependencies = false
use_git_change_detection = false
"""


def tests_of(module: str) -> list[str]:
    """The test files of a module: its mirror, and what `equal_mutants.toml` names."""
    _, room, name = Path(module).with_suffix("").parts
    mirror = f"tests/{room}/test_{name}.py"
    return [*([mirror] if (ROOT / mirror).is_file() else []), *KNOWN["tests"].get(module, [])]


def run(module: str, tests: list[str]) -> dict[str, int | None]:
    """Try all mutants of a module that are not decided yet; how each was decided, by its name."""
    os.chdir(folder_of(module))
    for name in ("clipfarm_tasks", "tests", "plugins", "pyproject.toml"):
        if not Path(name).is_symlink():
            Path(name).symlink_to(ROOT / name)
    selection = "\n".join(f"    {path}" for path in tests)
    Path("setup.cfg").write_text(SETTINGS.format(module=module, tests=selection))
    forget_survivors_of_other_tests(module, tests)
    with Path("log").open("w") as log:
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", os.environ.get("AT_ONCE", "1")]
        subprocess.run(command, stdout=log, stderr=log, check=False)  # what it did not get to is left undecided
    return json.loads(meta_of(module).read_text())["exit_code_by_key"]


def folder_of(module: str) -> Path:
    folder = WORK / Path(module).with_suffix("").as_posix().replace("/", ".")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def meta_of(module: str) -> Path:
    return Path("mutants") / f"{module}.meta"


def forget_survivors_of_other_tests(module: str, tests: list[str]) -> None:
    stamp, digest = Path("tests.sha256"), hashlib.sha256(b"".join((ROOT / path).read_bytes() for path in tests))
    if stamp.is_file() and stamp.read_text() != digest.hexdigest() and meta_of(module).is_file():
        meta = json.loads(meta_of(module).read_text())
        for name, code in meta["exit_code_by_key"].items():
            meta["exit_code_by_key"][name] = None if code in SURVIVED else code
        meta_of(module).write_text(json.dumps(meta))
        Path("mutants/mutmut-stats.json").unlink(missing_ok=True)
    stamp.write_text(digest.hexdigest())


def changed_lines(name: str, module: str) -> tuple[str, str]:
    """The lines of a mutant that differ, as they were and as they became."""
    lines = get_diff_for_mutant(name, path=Path(module)).splitlines()[2:]  # without the names of the files
    before, after = ("\n".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return before, after


def is_equal(module: str, before: str, after: str) -> bool:
    """Whether `equal_mutants.toml` says that this survivor cannot be told from the module."""
    if any(after in lines for lines in KNOWN["equal"].get(module, {}).values()):
        return True
    return any(
        re.sub(each["pattern"], "", before) == re.sub(each["pattern"], "", after) for each in KNOWN["everywhere"]
    )


def report(module: str) -> int:
    """Run a module and write what became of its mutants; how many survived that are not known as equal."""
    tests = tests_of(module)
    if not tests:
        sys.stdout.write(f"{module}: no tests of its own\n")
        return 0
    codes = run(module, tests)
    survivors = [changed_lines(name, module) for name, code in codes.items() if code in SURVIVED]
    unknown = [each for each in survivors if not is_equal(module, *each)]
    undecided = sum(code in UNDECIDED for code in codes.values())
    sys.stdout.write(
        f"{module}: {len(codes)} mutants, {len(codes) - len(survivors) - undecided} killed, "
        f"{len(survivors) - len(unknown)} equal, {len(unknown)} survived, {undecided} undecided\n"
    )
    if undecided:  # the tests fail without a mutant, as a rule
        sys.stdout.write(f"  see {Path('log').resolve()}\n")
    for before, after in unknown:
        sys.stdout.write("  - " + before.replace("\n", "\n    ") + "\n  + " + after.replace("\n", "\n    ") + "\n")
    sys.stdout.flush()
    return len(unknown) + undecided


def main(modules: list[str]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    if not modules:
        files = (path for room in ROOMS for path in sorted((ROOT / "clipfarm_tasks" / room).glob("[!_]*.py")))
        modules = [path.relative_to(ROOT).as_posix() for path in files]
    sys.exit(sum([report(module) for module in modules]) > 0)


if __name__ == "__main__":
    main(sys.argv[1:])
