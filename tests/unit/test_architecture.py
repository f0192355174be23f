"""Imports go one way only, as docs/adr and the layout say: a module may import from lower layers, never from its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "mclass_tf"

# From the top down. A package counts as one module; what its own modules import of each other is its own affair.
LAYERS = (
    {"__main__"},
    {"cli"},
    {"flows"},
    {"session"},
    {"endpoint", "lease", "ledger", "rollout"},
    {
        "describe",
        "gates",
        "buckets",
        "image",
        "rehearsal",
        "service",
        "state",
        "target",
        "terraform",
        "verify",
    },
    {"trust"},
    {"aws", "environment", "local", "plan", "process", "workspace"},
    {
        "analysis",
        "attempt_names",
        "hcl",
        "inputs",
        "lines",
        "machine",
        "plan_json",
        "private",
        "python",
        "runs",
        "stored",
        "strategy",
        "terminal",
    },
    {"errors"},
)
MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE
)


def layer(name: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if name in names)


def imports(path: Path) -> set[str]:
    """Return the modules of this package that `path` imports, at whatever depth of the code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = (name.split(".") for name in found if name.startswith("mclass_tf."))
    return {
        part[1] for part in parts if (PACKAGE / part[1]).is_dir() or (PACKAGE / f"{part[1]}.py").is_file()
    }


def owner(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_the_layers_below_it(path: Path) -> None:
    own = owner(path)

    for name in imports(path) - {own}:
        assert layer(name) > layer(own), f"{own} may not import {name}"


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
