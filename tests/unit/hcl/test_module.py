"""What a folder of configuration declares, in whatever layout and syntax Terraform takes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mclass_tf import hcl
from mclass_tf.errors import ConfigurationError
from mclass_tf.hcl import module
from mclass_tf.hcl.module import SourceLocation
from mclass_tf.hcl.types import ObjectType


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.mark.parametrize(
    "text",
    [
        'variable "x" {}',
        "variable x {}",
        'variable "x" { type = string }',
        '  variable   "x"  /* c */ {\n}',
        '/* c */ variable "x" {\n}',
        'variable "a" {}\r\nvariable "x" {\r\n}\r\n',
        '\ufeffvariable "x" {}',
        'locals { a = <<A\nA\n}\nvariable "x" { default = 1e1 }',
    ],
)
def test_a_variable_is_declared_in_any_layout(tmp_path: Path, text: str) -> None:
    declared = module.read(write(tmp_path, main__tf=text))

    assert "x" in declared.variables
    assert declared.is_complete


@pytest.mark.parametrize(
    "text", ['# variable "x" {}', '/*\nvariable "x" {}\n*/', 'locals {\n  a = <<A\nvariable "x" {}\nA\n}']
)
def test_a_variable_in_a_comment_or_a_text_is_not_declared(tmp_path: Path, text: str) -> None:
    assert module.read(write(tmp_path, main__tf=text)).variables == {}


@pytest.mark.parametrize(
    "document",
    [
        {"variable": {"x": {"type": "object({ a = optional(string) })"}}},
        {"variable": [{"x": [{"type": "object({ a = optional(string) })"}]}], "//": "a comment"},
        [{"variable": {"x": {"type": "object({ a = optional(string) })", "default": {"a": "${1}"}}}}],
    ],
)
def test_a_variable_is_declared_in_json(tmp_path: Path, document: object) -> None:
    declared = module.read(write(tmp_path, main__tf__json=json.dumps(document, indent=1)))

    assert isinstance(declared.variables["x"].type, ObjectType)
    assert declared.is_complete


def test_an_override_has_the_last_word(tmp_path: Path) -> None:
    declared = module.read(
        write(
            tmp_path,
            a_override__tf='variable "x" {\n  type = object({ b = string })\n}\nmodule "m" {\n  a = 2\n}',
            z__tf='variable "x" {\n  type    = object({ a = string })\n  default = {}\n}\nmodule "m" {\n  source = "./m"\n  a = 1\n}',
        )
    )

    assert declared.variables["x"].type.attributes.keys() == {"b"}  # type: ignore[union-attr]
    assert declared.variables["x"].default is not None
    assert [(each.source, each.arguments["a"].value) for each in declared.calls] == [("./m", 2)]  # type: ignore[union-attr]


def test_what_an_editor_leaves_is_no_configuration(tmp_path: Path) -> None:
    text = 'variable "x" {}'
    folder = write(
        tmp_path, **{".#main__tf": text, "main__tf~": text, "#main__tf#": text, "main__tf__bak": text}
    )
    (folder / "folder.tf").mkdir()

    assert module.read(folder).variables == {}


def test_a_file_that_is_not_understood_leaves_the_module_incomplete(tmp_path: Path) -> None:
    assert not module.read(write(tmp_path, main__tf='variable "x" {}\nvariable {{{')).is_complete
    assert not module.read(write(tmp_path, main__tf="", more__tf__json="{")).is_complete


def test_resources_have_places(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        main__tf='\nresource "aws_vpc" "this" {}\n/*\nresource "aws_vpc" "no" {}\n*/\n  data "aws_region" "now" {\n}',
        more__tf__json='{\n "resource": {\n  "aws_eip": {\n   "a": {}}}}',
    )

    assert module.read(folder).resources == {
        "aws_vpc.this": SourceLocation(file=folder / "main.tf", line=2),
        "data.aws_region.now": SourceLocation(file=folder / "main.tf", line=6),
        "aws_eip.a": SourceLocation(file=folder / "more.tf.json", line=4),
    }


CALLEE = 'variable "settings" {\n  type = object({\n    internal = optional(bool)\n  })\n}\n'


def refused(root: Path) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        hcl.check(root)
    return caught.value


def test_an_attribute_that_a_called_module_would_drop_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "m", variables__tf=CALLEE)
    root = write(
        tmp_path / "root",
        main__tf='module "m" {\n  source   = "../m"\n  settings = {\n    intrenal = true\n  }\n}\n',
    )

    error = refused(root)

    assert (error.file, error.line, error.key) == (root / "main.tf", 4, "module.m.settings.intrenal")
    assert error.hint == "did you mean internal?"


def test_so_is_one_in_json_and_one_of_a_module_that_a_module_calls(tmp_path: Path) -> None:
    write(tmp_path / "root/m/inner", variables__tf=CALLEE)
    call = {"module": {"i": {"source": "./inner", "settings": {"intrenal": True}}}}
    write(tmp_path / "root/m", main__tf__json=json.dumps(call))
    root = write(tmp_path / "root", main__tf='module "m" {\n  source = "./m"\n}\n')

    assert refused(root).file == tmp_path / "root/m/main.tf.json"


def test_so_is_one_of_a_local_value_where_it_is_written(tmp_path: Path) -> None:
    write(tmp_path / "m", variables__tf=CALLEE)
    call = 'module "m" {\n  source   = "../m"\n  settings = true ? local.a : null\n}\n'
    values = "locals {\n  a = local.b\n  b = merge(local.a, {\n    intrenal = true\n  })\n}\n"
    root = write(tmp_path / "root", main__tf=call, locals__tf=values)

    error = refused(root)

    assert (error.file, error.line, error.key) == (root / "locals.tf", 4, "module.m.settings.intrenal")


@pytest.mark.parametrize(
    "text",
    [
        'variable "x" {\n  type    = object({ a = string })\n  default = { b = 1 }\n}',
        'variable "x" {\n  type = object({ a = optional(object({ c = string }),\n { b = 1 }) })\n}',
    ],
)
def test_so_is_one_of_a_default(tmp_path: Path, text: str) -> None:
    error = refused(write(tmp_path, main__tf=text))

    assert error.line == 3
    assert str(error.key).endswith(".b")


def test_calls_in_a_circle_and_of_modules_elsewhere_are_left_to_terraform(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        main__tf='module "me" {\n  source = "./."\n  a = {}\n}\nmodule "far" {\n  source = "a/b/aws"\n  c = { d = 1 }\n}\n',
    )

    hcl.check(root)


def test_this_project_drops_nothing() -> None:
    root = Path(__file__).parents[3] / "terraform"

    assert module.read(root).is_complete
    assert len(module.read(root).calls) > 5
    hcl.check(root)
