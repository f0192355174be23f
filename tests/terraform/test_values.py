"""Files of values are read as Terraform reads them: Terraform itself is asked for what it makes of the same file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from mclass_tf import terraform
from mclass_tf.environment.values import Values, read, without_terraform
from mclass_tf.hcl.expression import is_literal
from mclass_tf.system import process

from .values import FORMS, values

evaluate = partial(
    terraform.evaluate,
    engine=partial(terraform.find_engine, os.environ, run=process.run),
    env=os.environ,
    run=process.run,
)


def written(folder: Path, forms: Sequence[str], *, ends: str = "\n") -> Path:
    file = folder / "terraform.tfvars"
    lines = "".join(f"v{number} = {form}\n" for number, form in enumerate(forms))
    file.write_bytes(lines.replace("\n", ends).encode())
    return file


def by_terraform(file: Path, forms: Sequence[str]) -> Mapping[str, Any]:
    return evaluate(file, [f"v{number}" for number in range(len(forms))])


def kinds(value: Any) -> Any:
    """Return the value with a word for what Python takes for equal and Terraform does not: true and 1."""
    if isinstance(value, Mapping):
        return {name: kinds(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [kinds(inner) for inner in value]
    return (value, isinstance(value, bool))


def literals(found: Values) -> set[str]:
    return {name for name, each in found.attributes.items() if is_literal(each.value)}


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_every_form_of_a_value_is_what_terraform_makes_of_it(tmp_path: Path, ends: str) -> None:
    file = written(tmp_path, FORMS, ends=ends)

    assert kinds(read(file, evaluate)) == kinds(by_terraform(file, FORMS))


def test_what_is_literal_is_read_without_terraform_and_is_the_same(tmp_path: Path) -> None:
    file = written(tmp_path, FORMS)
    expected = by_terraform(file, FORMS)

    found = read(file, without_terraform)

    assert kinds({name: found[name] for name in literals(found)}) == kinds(
        {name: expected[name] for name in literals(found)}
    )
    assert len(literals(found)) > len(FORMS) / 2


@settings(
    max_examples=max(3, settings().max_examples // 20),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(forms=some.lists(values, min_size=10, max_size=20))
def test_files_of_values_made_at_random_are_read_as_terraform_reads_them(
    tmp_path: Path, forms: list[str]
) -> None:
    file = written(tmp_path, forms)
    expected = by_terraform(file, forms)

    found = read(file, without_terraform)

    assert kinds({name: found[name] for name in literals(found)}) == kinds(
        {name: expected[name] for name in literals(found)}
    )
