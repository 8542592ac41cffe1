"""Mutation testing of `data/`, `models/` and `evaluation/`: which changes of a module would its own tests not notice?

    python tests/mutants.py [MODULE.py ...]

Each module has a folder of its own under ``.clipfarm/mutants/``, where mutmut finds the package, with that module alone
to mutate, and the tests that mirror it. What is done is kept there: a run that was cut off goes on where it stopped, and
once tests were changed only what had survived is tried again. Delete the folder to start over.

`equal_mutants.toml` says which tests a module has where it has no mirror, and which survivors no test could tell from
the module, and why. The exit code is 1 where anything else survived.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".clipfarm" / "mutants"
ROOMS = ("evaluation", "models", "data")
KNOWN = tomllib.loads((Path(__file__).parent / "equal_mutants.toml").read_text())
# How pytest, or what ended it, says what became of a mutant; everything else killed it.
SURVIVED, UNTESTED, UNDECIDED = (0,), (5, 33), (None, 2)

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


@dataclass(frozen=True)
class Outcome:
    """What became of a module's mutants.

    Attributes:
        counts: mutants by outcome.
        survivors: their differences, each the lines before and the lines after.
    """

    counts: Counter[str]
    survivors: list[tuple[str, str]]


def tests_of(module: str) -> list[str]:
    """The test files of a module: its mirror, and what `equal_mutants.toml` adds."""
    _, room, name = Path(module).with_suffix("").parts
    mirror = f"tests/{room}/test_{name}.py"
    return [*([mirror] if (ROOT / mirror).is_file() else []), *KNOWN["tests"].get(module, [])]


def run(module: str, tests: list[str]) -> Outcome:
    """Try all mutants of a module that are not decided yet."""
    folder = WORK / Path(module).with_suffix("").as_posix().replace("/", ".")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("clipfarm_tasks", "tests", "plugins", "pyproject.toml"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(ROOT / name)
    selection = "\n".join(f"    {path}" for path in tests)
    (folder / "setup.cfg").write_text(SETTINGS.format(module=module, tests=selection))
    _forget_survivors_of_other_tests(folder, module, tests)
    here = [sys.executable, "-m", "mutmut"]
    children = os.environ.get("MUTANTS_AT_ONCE", "1")
    with (folder / "log").open("w") as log:
        if subprocess.run(
            [*here, "run", "--max-children", children], cwd=folder, stdout=log, stderr=log, check=False
        ).returncode:
            sys.exit(f"error: expected mutmut to run, got a failure, in {module}: see {folder / 'log'}")
    by_name = _meta(folder, module)["exit_code_by_key"]
    counts = Counter({"mutants": len(by_name)})
    survivors = []
    for name, code in by_name.items():
        if code in UNDECIDED:
            counts["undecided"] += 1
        elif code in (*SURVIVED, *UNTESTED):
            shown = subprocess.run([*here, "show", name], cwd=folder, capture_output=True, text=True, check=True).stdout
            survivors.append(_difference(shown))
    return Outcome(counts, survivors)


def is_equal(module: str, before: str, after: str) -> bool:
    """Whether `equal_mutants.toml` says that this survivor cannot be told from the module."""
    if after in KNOWN["equal"].get(module, {}):
        return True
    return any(re.sub(each, "", before) == re.sub(each, "", after) for each in KNOWN["everywhere"])


def _meta(folder: Path, module: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "mutants" / f"{module}.meta").read_text())
    return content


def _forget_survivors_of_other_tests(folder: Path, module: str, tests: list[str]) -> None:
    stamp, digest = folder / "tests.sha256", hashlib.sha256(b"".join((ROOT / path).read_bytes() for path in tests))
    if stamp.is_file() and stamp.read_text() != digest.hexdigest():
        meta = _meta(folder, module)
        codes = meta["exit_code_by_key"]
        meta["exit_code_by_key"] = {
            name: codes[name] if codes[name] not in (*SURVIVED, *UNTESTED) else None for name in codes
        }
        (folder / "mutants" / f"{module}.meta").write_text(json.dumps(meta))
        (folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
    stamp.write_text(digest.hexdigest())


def _difference(shown: str) -> tuple[str, str]:
    lines = [line for line in shown.splitlines() if not line.startswith(("---", "+++"))]
    before, after = ("\n".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return before, after


def main(modules: list[str]) -> None:
    """Run and report: a line for each module, then each survivor that is not known as equal."""
    if not modules:
        files = (path for room in ROOMS for path in sorted((ROOT / "clipfarm_tasks" / room).glob("[!_]*.py")))
        modules = [path.relative_to(ROOT).as_posix() for path in files]
    unknown = 0
    for module in modules:
        tests = tests_of(module)
        if not tests:
            print(f"{module}: no tests of its own")
            continue
        outcome = run(module, tests)
        equal = sum(is_equal(module, *each) for each in outcome.survivors)
        survived = len(outcome.survivors) - equal
        killed = outcome.counts["mutants"] - outcome.counts["undecided"] - len(outcome.survivors)
        print(
            f"{module}: {outcome.counts['mutants']} mutants, {killed} killed, {equal} equal, {survived} survived, "
            f"{outcome.counts['undecided']} undecided",
            flush=True,
        )
        unknown += survived
        for before, after in outcome.survivors:
            if not is_equal(module, before, after):
                print("  - " + before.replace("\n", "\n    "))
                print("  + " + after.replace("\n", "\n    "))
    sys.exit(unknown > 0)


if __name__ == "__main__":
    main(sys.argv[1:])
