"""Rules for the files in dags/ and plugins/. Each walk says how many files it saw."""

import ast
import fnmatch
import sys
import tomllib

PARSE_SAFE = {
    "config",
    "contracts",
    "deployment",
    "errors",
    "families",
    "graph",
    "keys",
    "slice_limits",
}  # modules, or rooms
ALLOWED_IN_DAGS = {"airflow", "clipfarm_alerts", "clipfarm_tasks", "contextlib", "datetime", "typing"}


def imports(nodes):
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "clipfarm_tasks":
            yield from (f"clipfarm_tasks.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def dag_files(root):
    return sorted((root / "dags").rglob("*.py"))


def test_dag_files_are_short_and_named_for_what_they_are(root):
    files = dag_files(root)
    assert [path.name for path in files] == [
        "clipfarm_freshness_dag.py",
        "clipfarm_maintenance_dag.py",
        "clipfarm_training_dag.py",
        "clipfarm_tuning_dag.py",
    ]
    for path in files:
        assert path.name.endswith("_dag.py")
        assert len(path.read_text().splitlines()) <= 150


def test_dag_files_import_only_the_parse_safe_language(root):
    seen = 0
    for path in dag_files(root):
        for name in imports(ast.parse(path.read_text()).body):
            package, _, rest = name.partition(".")
            assert package in ALLOWED_IN_DAGS, name
            assert package != "airflow" or name == "airflow.sdk", name
            assert package != "clipfarm_tasks" or rest.split(".")[0] in PARSE_SAFE, name
            seen += 1
    assert seen >= 8


def test_dag_files_read_no_clock_variable_or_connection_at_parse(root):
    seen = 0
    for path in dag_files(root):
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        names |= {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert names & {"now", "utcnow", "today", "Variable", "Connection", "environ", "getenv", "open"} == set()
        seen += 1
    assert seen == 4


def test_parse_safe_modules_import_only_the_standard_library_and_pydantic(root):
    seen = 0
    package_folder = root / "clipfarm_tasks"
    for module in sorted(PARSE_SAFE):
        room = package_folder / module
        files = sorted(room.glob("*.py")) if room.is_dir() else [room.with_suffix(".py")]
        for name in (name for file in files for name in imports(ast.walk(ast.parse(file.read_text())))):
            package, _, rest = name.partition(".")
            assert package in sys.stdlib_module_names | {"pydantic", "clipfarm_tasks"}, f"{module}: {name}"
            assert package != "clipfarm_tasks" or rest.split(".")[0] in PARSE_SAFE, f"{module}: {name}"
        seen += len(files)
    assert seen == 13


def test_plugins_are_flat_prefixed_and_ignored_unless_they_are_plugins(root):
    folder = root / "plugins"
    lines = (folder / ".airflowignore").read_text().splitlines()
    ignored = [line for line in lines if line and not line.startswith("#")]
    files = [path for path in folder.rglob("*.py") if "__pycache__" not in path.parts]
    assert len(files) >= 1
    for path in files:
        assert path.parent == folder
        assert path.name.startswith("clipfarm_")
        is_plugin = "AirflowPlugin" in path.read_text()
        assert is_plugin != any(fnmatch.fnmatch(path.name, pattern) for pattern in ignored), path.name
    assert all(list(folder.glob(pattern)) for pattern in ignored)


def test_lint_bans_every_heavy_module_that_the_parse_guard_refuses(root):
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    banned = set(settings["flake8-tidy-imports"]["banned-module-level-imports"])
    guard = ast.parse((root / "tests" / "dags" / "guard.py").read_text())
    refused = next(
        ast.literal_eval(n.value) for n in guard.body if isinstance(n, ast.Assign) and n.targets[0].id == "HEAVY"
    )
    assert len(refused) >= 12
    assert refused <= banned
