"""The package opens no pickle: a file in a bucket may be anybody's."""

import ast

import pytest

# Calls that unpickle whatever they are given, and those that do unless an argument says no.
ALWAYS = {
    *("joblib.load", "pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads"),
    *("pandas.read_pickle", "pd.read_pickle", "dill.load", "dill.loads"),
}
UNLESS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
UNLESS["numpy.load"] = UNLESS["np.load"]
PICKLES = {"pickle", "cloudpickle", "dill", "shelve", "marshal"}


def unpickling(source):
    """The calls and imports of a module that can unpickle."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            argument, wanted = UNLESS.get(name, (None, None))
            said = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            if name in ALWAYS or (argument and said.get(argument) is not wanted):
                found.append(ast.unparse(node))
        elif (isinstance(node, ast.Import) and not PICKLES.isdisjoint(alias.name for alias in node.names)) or (
            isinstance(node, ast.ImportFrom) and node.module in {*PICKLES, "joblib"}
        ):
            found.append(ast.unparse(node))
    return found


def test_no_module_of_the_package_unpickles(repository):
    modules = list((repository / "clipfarm_tasks").rglob("*.py"))
    assert len(modules) > 100
    found = {str(path): calls for path in modules if (calls := unpickling(path.read_text()))}
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "joblib.load(path)",
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=flag)",
    ],
)
def test_the_walk_sees_what_unpickles(source):
    assert unpickling(source) == [source]
