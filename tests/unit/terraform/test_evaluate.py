"""Values that Terraform evaluates: results, refusals, and cleanup."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mclass_tf import terraform
from mclass_tf.errors import ConfigurationError
from mclass_tf.system import process
from mclass_tf.system.process import Command, Completed
from mclass_tf.terraform import Engine

engine = partial(terraform.find_engine, os.environ, run=process.run)


def evaluate(file: Path, *names: str, **env: str) -> Mapping[str, Any]:
    return terraform.evaluate(file, names, engine=engine, env={**os.environ, **env}, run=process.run)


def written(folder: Path, text: bytes) -> Path:
    file = folder / "a = b.tfvars"
    file.write_bytes(text)
    return file


def test_values_are_as_terraform_has_them(tmp_path: Path) -> None:
    file = written(
        tmp_path, "# caf\xe9\n".encode("latin-1") + "이름 = <<가\nx\n가\nn = null\nother = 1\n".encode()
    )

    assert evaluate(file, "이름", "n", "unset") == {"이름": "x\n", "n": None}


@pytest.mark.parametrize("name", ["source", "count", "1a", "-a", "a b", ""])
def test_what_can_be_no_variable_is_set_nowhere(tmp_path: Path, name: str) -> None:
    assert evaluate(written(tmp_path, b"a = 1\ncount = 2\n"), "a", name) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"a = 1\nb = = 2\n", "Invalid expression"),
        (b"a = 1\nb = var.c\n", "Variables not allowed"),
        (b'a = 1\nb = file("/etc/passwd")\n', "Function calls not allowed"),
        (b'a = 1\nb = "caf\xe9"\n', "Invalid character encoding"),
        (b"a = 1\nb {\n}\n", "Blocks are not allowed"),
    ],
)
def test_what_terraform_does_not_accept_is_told_in_its_words_with_the_line(
    tmp_path: Path, text: bytes, reason: str
) -> None:
    file = written(tmp_path, text)

    with pytest.raises(ConfigurationError, match=reason) as caught:
        evaluate(file, "a", "b")

    assert (caught.value.file, caught.value.line) == (file, 2)


def test_what_steers_terraform_from_outside_does_not_reach_it(tmp_path: Path) -> None:
    file = written(tmp_path, b"a = 1\n")

    assert evaluate(file, "a", TF_CLI_ARGS="-no-such-flag", TF_VAR_a="2", TF_DATA_DIR="/nowhere") == {"a": 1}


def test_no_value_is_left_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()

    evaluate(written(tmp_path, b"a = 1\n"), "a")

    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("said", ["", "no JSON", '{"type": "outputs", "outputs": {}}'])
def test_a_program_that_answers_otherwise_than_terraform_is_told(tmp_path: Path, said: str) -> None:
    def run(command: Command, *, on_stdout: Callable[[str], None] | None = None) -> Completed:
        return Completed(status=0, stdout=said, stderr="", interrupted=False)

    with pytest.raises(ConfigurationError, match="cannot read it"):
        terraform.evaluate(
            written(tmp_path, b"a = 1"),
            ["a"],
            engine=lambda: Engine(argv=("terraform",), version="1.11.0"),
            env={},
            run=run,
        )
