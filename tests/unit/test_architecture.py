"""Imports go one way: between the layers of the package, between the parts of each folder, and between modules."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "mclass_tf"

# From the top down. A package counts as one module.
LAYERS = (
    {"__main__"},
    {"cli"},
    {"flows"},
    {"session"},
    {"lease", "ledger", "load_balancer_endpoint", "rollout"},
    {
        "buckets",
        "cloud",
        "conformance",
        "describe",
        "gates",
        "image",
        "rehearsal",
        "service",
        "terraform",
        "terraform_state",
        "verify",
    },
    {"trust"},
    {"aws", "environment", "plan", "workspace"},
    {"local"},
    {
        "analysis",
        "attempt_names",
        "credentials",
        "hcl",
        "inputs",
        "lines",
        "plan_json",
        "stored",
        "strategy",
        "system",
        "terminal",
    },
    {"errors"},
)
MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE
)
FOLDERS = sorted({path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE})


def layer(name: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if name in names)


@cache
def imported(path: Path) -> frozenset[Path]:
    """Return the files of this package that `path` imports, at whatever depth of the code, for types too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    files = (file for name in names if name.startswith("mclass_tf") and (file := file_of(name)) is not None)
    return frozenset(files) - {path}


def file_of(name: str) -> Path | None:
    """Return the file of a module, or of the module that has something of that name; None for the package itself."""
    folder = PACKAGE.parent / name.replace(".", "/")
    own, package = folder.with_suffix(".py"), folder / "__init__.py"
    if own.is_file() or package.is_file():
        return own if own.is_file() else package
    return file_of(name.rpartition(".")[0])


def imports(path: Path) -> set[str]:
    """Return what of the top of this package `path` imports."""
    return {owner(file) for file in imported(path)} - {"__init__"}


def owner(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the nodes of a circle, none where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_the_layers_below_it(path: Path) -> None:
    own = owner(path)

    for name in imports(path) - {own}:
        assert layer(name) > layer(own), f"{own} may not import {name}"


def test_no_module_imports_itself_through_others() -> None:
    graph = {
        str(path.relative_to(PACKAGE)): {
            str(file.relative_to(PACKAGE)) for file in imported(path) if file.name != "__init__.py"
        }
        for path in PACKAGE.rglob("*.py")
    }

    assert circle(graph) == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(PACKAGE.parent)))
def test_the_parts_of_a_folder_import_each_other_one_way(folder: Path) -> None:
    """A part is a module, or a folder with all that is in it."""
    graph: dict[str, set[str]] = {}
    for path in folder.rglob("*.py"):
        inside = (file for file in imported(path) if file.is_relative_to(folder))
        part = part_of(path, folder=folder)
        others = {part_of(file, folder=folder) for file in inside} - {part, "__init__"}
        graph.setdefault(part, set()).update(others)
    graph.pop("__init__", None)

    assert circle(graph) == []


def part_of(path: Path, *, folder: Path) -> str:
    return path.relative_to(folder).parts[0].removesuffix(".py")


def test_a_circle_is_noticed() -> None:
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}
    assert circle({"a": {"b"}, "b": {"c"}}) == []


def test_the_local_aws_imports_nothing_of_the_rest() -> None:
    for path in (PACKAGE / "local").rglob("*.py"):
        assert imports(path) <= {"local"}, path


def test_only_aws_imports_boto3() -> None:
    for path in MODULES:
        if owner(path) not in {"aws", "local"}:
            text = path.read_text(encoding="utf-8")
            assert "import boto3" not in text, path
            assert "import botocore" not in text, path
            assert "from botocore" not in text, path


def test_only_the_command_line_prints_and_exits() -> None:
    allowed = {
        "cli",
        "__main__",
        "local",
    }  # the local AWS's server is a program of its own, as is the embedded engine
    for path in MODULES:
        if owner(path) in allowed or path.name == "embedded.py":
            continue
        calls = [
            n.func.id
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        ]
        assert "print" not in calls, path
        assert "exit" not in calls, path
