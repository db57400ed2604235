"""On the line PC nothing that is read becomes code: no pickle, no shell, no eval."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "edge_agent"
MODULES = {
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"),
    *("torch", "yaml", "ruamel", "multiprocessing", "code", "xmlrpc"),
}
CALLS = {"eval", "exec", "compile", "__import__"}
METHODS = {
    ("torch", "load"),
    ("yaml", "load"),
    ("numpy", "load"),
    ("np", "load"),
    ("os", "system"),
    ("os", "popen"),
    ("subprocess", "getoutput"),
    ("subprocess", "getstatusoutput"),
    ("tempfile", "mktemp"),
}
KEYWORDS = {"shell", "allow_pickle"}


def found_in(source: str) -> list[str]:
    """What a module has that turns data into code, as ``line: what``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        what = ""
        if isinstance(node, ast.Import):
            what = " ".join(a.name for a in node.names if a.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".")[0]
            what = module if module in MODULES else ""
        elif isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name) and function.id in CALLS:
                what = function.id
            elif (
                isinstance(function, ast.Attribute)
                and isinstance(function.value, ast.Name)
                and (function.value.id, function.attr) in METHODS
            ):
                what = f"{function.value.id}.{function.attr}"
            what = what or " ".join(
                word.arg
                for word in node.keywords
                if word.arg in KEYWORDS
                and not (isinstance(word.value, ast.Constant) and word.value.value is False)
            )
        if what:
            found.append(f"{node.lineno}: {what}")
    return found


def test_nothing_under_edge_agent_turns_data_into_code():
    modules = sorted(PACKAGE.rglob("*.py"))
    assert len(modules) > 50

    found = {str(m.relative_to(PACKAGE)): found_in(m.read_text(encoding="utf-8")) for m in modules}

    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import torch.nn",
        "from pickle import loads",
        "def f():\n    from multiprocessing import Pool",
        "eval('1')",
        "exec(x)",
        "torch.load(f)",
        "yaml.load(f)",
        "np.load(f)",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "subprocess.run('ls', shell=yes)",
        "numpy.lib.format.read_array(f, allow_pickle=True)",
    ],
)
def test_the_check_finds(source):
    assert found_in(source)


@pytest.mark.parametrize(
    "source", ["re.compile('x')", "json.load(f)", "subprocess.run(['ls'], shell=False)", "x.eval()"]
)
def test_the_check_leaves_alone(source):
    assert found_in(source) == []
