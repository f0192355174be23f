"""Replaces functions of moto and botocore, and rejects versions of them whose functions take other arguments."""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mclass_tf.local.errors import LocalAwsError

_Function = Callable[..., Any]


class IncompatibleLibraryError(LocalAwsError):
    """The installed version of a library lacks a replaced function, or the function takes other arguments."""

    def __init__(self, owner: Any, problem: str) -> None:
        module = inspect.getmodule(owner)
        library = module.__name__.partition(".")[0] if module else owner.__name__
        super().__init__(
            f"the local AWS does not work with {library} {importlib.metadata.version(library)}: {problem}",
            hint="install the versions that mclass-tf requires: pip install 'mclass-tf[local]'",
        )


def replace(owner: Any, name: str, derive: Callable[[_Function], _Function]) -> None:
    """Replace the function `name` of a module or class by `derive(function)`.

    Raise IncompatibleLibraryError if the function does not exist or takes other arguments than the replacement.
    """
    original = getattr(owner, name, None)
    if original is None:
        raise IncompatibleLibraryError(owner, f"{owner.__name__} has no {name}")
    replacement = derive(original)
    actual, expected = _parameters(original), _parameters(replacement)
    if actual != expected:
        raise IncompatibleLibraryError(
            owner, f"{name} of {owner.__name__} takes ({', '.join(actual)}), not ({', '.join(expected)})"
        )
    setattr(owner, name, replacement)


@contextmanager
def replaced(owner: Any, name: str, derive: Callable[[_Function], _Function]) -> Iterator[None]:
    """Replace the function as `replace` does, and restore the original at the end."""
    original = getattr(owner, name, None)
    replace(owner, name, derive)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _parameters(function: _Function) -> list[str]:
    signature = inspect.signature(function)
    untyped = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return str(inspect.Signature(untyped))[1:-1].split(", ")
