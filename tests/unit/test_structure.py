"""The bounds within which the package stays readable: of its functions, classes and folders."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "mclass_tf"
FILES = sorted(PACKAGE.rglob("*.py"))

_LINES_OF_A_FUNCTION = 60
_LINES_OF_A_CLASS, _METHODS = 300, 25
_MODULES_OF_A_FOLDER = 25
_TIMES_FOUND = 100
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def nodes() -> Iterator[tuple[str, ast.AST]]:
    """Yield every node of the package's syntax trees, with the name of its file."""
    for path in FILES:
        name = str(path.relative_to(PACKAGE))
        yield from ((name, node) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{file}:{node.name}": lines(node)
        for file, node in nodes()
        if isinstance(node, _FUNCTIONS) and lines(node) > _LINES_OF_A_FUNCTION
    }

    assert long == {}


def test_no_class_does_everything() -> None:
    classes = [(file, node) for file, node in nodes() if isinstance(node, ast.ClassDef)]
    methods = {
        f"{file}:{node.name}": sum(isinstance(child, _FUNCTIONS) for child in node.body)
        for file, node in classes
    }

    assert classes
    assert {name: count for name, count in methods.items() if count > _METHODS} == {}
    assert {
        f"{file}:{node.name}": lines(node) for file, node in classes if lines(node) > _LINES_OF_A_CLASS
    } == {}


def test_no_folder_holds_everything() -> None:
    modules = Counter(str(path.parent.relative_to(PACKAGE.parent)) for path in FILES)

    assert {folder: count for folder, count in modules.items() if count > _MODULES_OF_A_FOLDER} == {}


def test_names_say_what_they_hold() -> None:
    """`found` is the name for whatever a search has given, and hides what that is."""
    times = sum(len(re.findall(r"\bfound\b", path.read_text(encoding="utf-8"))) for path in FILES)

    assert times < _TIMES_FOUND
