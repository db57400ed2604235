"""Where code lies, and how large its parts may grow: what was once small stays so."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE, FUNCTION, PARAMETERS = 350, 80, 7
# Larger than that since before the limits were set: each may shrink, and then leaves the list.
MODULES = {
    "edge_agent/engine/worker/pool.py": 383,
    "edge_agent/line/housekeeping.py": 425,
    "edge_agent/mqtt/connection.py": 386,
    "edge_agent/sources/folder.py": 589,
    "edge_agent/sources/mqtt.py": 433,
    "edge_agent/sources/spool.py": 745,
}
FUNCTIONS: dict[str, int] = {}
CONSTRUCTORS = {"edge_agent/sources/folder.py: FolderSource": 8}

FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in ("edge_agent", "trainer")
    for path in (ROOT / package).rglob("*.py")
)


def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("package", "most"), [("edge_agent", 20), ("trainer", 14)])
def test_the_root_of_a_package_is_read_at_a_glance(package, most):
    passed_over = {"__init__.py", "__main__.py", "__pycache__", "py.typed"}
    entries = {path.name for path in (ROOT / package).iterdir()} - passed_over
    assert len(entries) <= most, sorted(entries)


def test_no_module_is_too_long():
    lines = {file: len((ROOT / file).read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {file: n for file, n in lines.items() if n > MODULES.get(file, MODULE)} == {}
    assert {file for file in MODULES if lines[file] <= MODULE} == set()  # off the list


def test_no_function_is_too_long():
    found = {}
    for file in FILES:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name, lines = f"{file}: {node.name}", (node.end_lineno or 0) - node.lineno + 1
                found[name] = max(lines, found.get(name, 0))
    assert {name: n for name, n in found.items() if n > FUNCTIONS.get(name, FUNCTION)} == {}
    assert {name for name in FUNCTIONS if found[name] <= FUNCTION} == set()


def test_no_constructor_takes_too_much():
    found = {}
    for file in FILES:
        for node in ast.walk(tree(file)):
            if not isinstance(node, ast.ClassDef):
                continue
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    given = [*part.args.posonlyargs, *part.args.args, *part.args.kwonlyargs]
                    found[f"{file}: {node.name}"] = len(given) - 1
    assert {n: k for n, k in found.items() if k > CONSTRUCTORS.get(n, PARAMETERS)} == {}
    assert {name for name in CONSTRUCTORS if found[name] <= PARAMETERS} == set()
