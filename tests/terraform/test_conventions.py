"""The configuration keeps the conventions that make a folder readable: order, types, descriptions, tables."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from mclass_tf.hcl.expression import Literal
from mclass_tf.hcl.syntax import Body, parse

from .conftest import FOLDERS, HERE, ROOT

README_TABLES = HERE / "readme_tables.py"
STANDARD_FILES = ("README.md", "main.tf", "outputs.tf", "variables.tf", "versions.tf")


def _blocks(folder: str, *, file: str, kind: str) -> Iterator[tuple[str, Body]]:
    for block in _parsed(folder, file).blocks:
        if block.kind == kind:
            yield block.labels[0], block.body


@cache
def _parsed(folder: str, file: str) -> Body:
    return parse((ROOT / folder / file).read_bytes()).body


def _tables(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(README_TABLES), *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_has_the_standard_files_and_tests(folder: str) -> None:
    assert [name for name in STANDARD_FILES if not (ROOT / folder / name).is_file()] == []
    assert list((ROOT / folder / "tests").glob("*.tftest.hcl"))


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize(("file", "kind"), [("variables.tf", "variable"), ("outputs.tf", "output")])
def test_variables_and_outputs_stand_in_alphabetical_order(folder: str, file: str, kind: str) -> None:
    names = [name for name, _ in _blocks(folder, file=file, kind=kind)]
    assert sorted(names) == names


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_variable_has_a_type_and_a_description_and_is_null_only_by_default(folder: str) -> None:
    for name, variable in _blocks(folder, file="variables.tf", kind="variable"):
        assert variable.attribute("type"), f"{name} has no type"
        assert variable.attribute("description"), f"{name} has no description"
        default, nullable = variable.attribute("default"), variable.attribute("nullable")
        may_be_null = isinstance(default, Literal) and default.value is None
        is_not_nullable = isinstance(nullable, Literal) and nullable.value is False
        assert may_be_null != is_not_nullable, f"{name} must be either nullable or not"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_output_has_a_description(folder: str) -> None:
    assert [
        name
        for name, output in _blocks(folder, file="outputs.tf", kind="output")
        if not output.attribute("description")
    ] == []


@pytest.mark.parametrize("folder", [name for name in FOLDERS if name != "terraform"])
def test_modules_neither_call_modules_nor_configure_providers(folder: str) -> None:
    text = "".join(path.read_text() for path in (ROOT / folder).glob("*.tf"))
    assert re.findall(r'^(?:module|provider) "', text, re.MULTILINE) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_validation_is_tried_by_a_test(folder: str) -> None:
    expected = "".join(path.read_text() for path in (ROOT / folder / "tests").rglob("*.tftest.hcl"))
    refused = set(
        re.findall(r"\bvar\.\w+", "".join(re.findall(r"expect_failures = \[.*?\]", expected, re.DOTALL)))
    )
    variables = _blocks(folder, file="variables.tf", kind="variable")
    validated = {
        f"var.{name}"
        for name, variable in variables
        if any(each.kind == "validation" for each in variable.blocks)
    }
    assert validated == refused


def test_the_readmes_tables_are_up_to_date() -> None:
    done = _tables("--check")
    assert done.returncode == 0, done.stderr


def test_a_stale_table_is_noticed_and_the_command_that_mends_it_works(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    shutil.copytree(ROOT / "modules/logs", folder)
    variables = folder / "variables.tf"
    variables.write_text(variables.read_text().replace("Days that events are kept", "Days of memory"))
    stale = _tables("--check", str(folder))
    assert stale.returncode == 1
    assert "regenerate them with: python tests/terraform/readme_tables.py" in stale.stderr
    assert _tables(str(folder)).returncode == 0
    assert _tables("--check", str(folder)).returncode == 0
    assert "Days of memory" in (folder / "README.md").read_text()


def test_the_committed_schema_is_what_the_configuration_uses() -> None:
    named = {
        name
        for folder in FOLDERS
        for path in (ROOT / folder).glob("*.tf")
        for name in re.findall(r'^(?:resource|data) "(aws_\w+)"', path.read_text(), re.MULTILINE)
    }
    kept = set(re.findall(r'^"(aws_\w+)":', (HERE / "aws-6.69.1.json").read_text(), re.MULTILINE))
    assert named == kept, "trim the schema again: tests/terraform/trim_schema.py"
