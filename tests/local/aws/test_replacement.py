"""Functions of moto and botocore are replaced only if they take the same arguments as the replacements."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from mclass_tf.local.aws.replacement import IncompatibleLibraryError, replace, replaced
from tests.time_limits import seconds_left

MOTO = f"moto {importlib.metadata.version('moto')}"


def load(name: str, *, mode: str = "r") -> str:
    return f"{name} {mode}"


def ours(_original: Callable[..., Any]) -> Callable[..., Any]:
    def function(name: str, *, mode: str = "r") -> str:
        return f"our {name} {mode}"

    return function


def narrower(_original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda name: f"our {name}"


@pytest.fixture
def library() -> ModuleType:
    module = ModuleType("moto.made_up")
    vars(module)["load"] = load
    return module


def test_a_function_is_replaced_by_one_that_takes_the_same_arguments(library: ModuleType) -> None:
    replace(library, "load", ours)

    assert library.load("types") == "our types r"


def test_the_original_is_restored_after_a_temporary_replacement(library: ModuleType) -> None:
    with replaced(library, "load", ours):
        assert library.load("types") == "our types r"

    assert library.load is load


def test_a_function_with_other_arguments_is_refused_with_the_library_version(
    library: ModuleType,
) -> None:
    with pytest.raises(IncompatibleLibraryError) as refused:
        replace(library, "load", narrower)

    assert refused.value.message == (
        f"the local AWS does not work with {MOTO}: load of moto.made_up takes (name, *, mode='r'), not (name)"
    )
    assert library.load is load


def test_a_missing_function_is_refused_with_the_library_version(library: ModuleType) -> None:
    with pytest.raises(IncompatibleLibraryError, match=f"{MOTO}: moto.made_up has no read"):
        replace(library, "read", ours)


def test_the_local_aws_does_not_start_with_a_moto_that_has_changed() -> None:
    program = """
import moto.utilities.utils
moto.utilities.utils.load_resource = lambda resource, package: {}
import mclass_tf.local.aws
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=seconds_left()
    )

    assert done.returncode == 1
    assert (
        f"{MOTO}: load_resource of moto.utilities.utils takes (resource, package), not (resource)"
        in done.stderr
    )
