"""Errors for values in a configuration that Terraform would drop or that are null, with location and hint."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from mclass_tf.errors import ConfigurationError
from mclass_tf.hcl import module, types
from mclass_tf.hcl.expression import Expression, Reference


def unknown_error(file: Path, unknown: types.UnknownAttribute) -> ConfigurationError:
    key = f"{unknown.path}.{unknown.name}"
    similar = difflib.get_close_matches(unknown.name, unknown.known, n=1)
    known = ", ".join(sorted(unknown.known)) or "none"
    return ConfigurationError(
        f"{key} is no attribute of {unknown.path}: Terraform would drop it without a word",
        hint=f"did you mean {similar[0]}?" if similar else f"attributes: {known}",
        file=file,
        line=unknown.line,
        key=key,
    )


def null_error(file: Path, null: types.NullElement) -> ConfigurationError:
    return ConfigurationError(
        f"{null.path} is null: it would be passed on as an element without a value",
        hint="leave it out, or give it a value",
        file=file,
        line=null.line,
        key=null.path,
    )


def check(root: Path) -> None:
    """Raise ConfigurationError for the first attribute in the configuration that Terraform would drop.

    It checks the defaults of variables, and the arguments of calls of local modules, at any depth of calls.
    """
    for error in _errors(module.read(root), seen=set()):
        raise error


def _errors(caller: module.Module, *, seen: set[Path]) -> Iterator[ConfigurationError]:
    if caller.folder in seen:
        return
    seen.add(caller.folder)
    for variable in caller.variables.values():
        yield from _errors_of_defaults(variable)
    for call in caller.calls:
        folder = caller.folder_of(call)
        if folder is None:
            continue
        callee = module.read(folder)
        yield from _errors_of_call(call, caller, callee)
        yield from _errors(callee, seen=seen)


def _errors_of_defaults(variable: module.Variable) -> Iterator[ConfigurationError]:
    if variable.default is not None:
        for unknown in types.unknown_attributes(variable.default, variable.type, variable.name):
            yield unknown_error(variable.file, unknown)
    for unknown in types.unknown_attributes_of_defaults(variable.type, variable.name):
        yield unknown_error(variable.file, unknown)


def _errors_of_call(
    call: module.ModuleCall, caller: module.Module, callee: module.Module
) -> Iterator[ConfigurationError]:
    for name, value in call.arguments.items():
        if name in callee.variables:
            path = f"module.{call.name}.{name}"
            for written, file in _written(value, call.file, caller):
                for unknown in types.unknown_attributes(written, callee.variables[name].type, path):
                    yield unknown_error(file, unknown)


def _written(
    value: Expression, file: Path, caller: module.Module, seen: frozenset[str] = frozenset()
) -> Iterator[tuple[Expression, Path]]:
    """Yield the possible expressions of an argument, with their files; a reference to a local value is resolved."""
    for each in types.alternatives(value):
        name = each.name.removeprefix("local.") if isinstance(each, Reference) else ""
        if name in caller.locals and name not in seen:
            local = caller.locals[name]
            yield from _written(local.value, local.file, caller, seen | {name})
        else:
            yield each, file
