"""Read the declarations of a module: variables, locals, module calls, resources and providers, with their locations."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from mclass_tf.hcl import types
from mclass_tf.hcl.expression import Attribute, Expression, Literal, Object, Tuple
from mclass_tf.hcl.syntax import Block, Body, parse, parse_expression

# OpenTofu prefers its own endings. Each program reports files that it cannot read.
_ENDINGS: Final = (".tf", ".tf.json", ".tofu", ".tofu.json")


@dataclass(frozen=True, kw_only=True)
class Variable:
    name: str
    type: types.Type
    default: Expression | None
    is_sensitive: bool
    file: Path
    line: int | None


@dataclass(frozen=True, kw_only=True)
class ModuleCall:
    """`module "name" { source = … }` and its arguments."""

    name: str
    source: str
    arguments: Mapping[str, Expression]
    file: Path
    line: int | None


@dataclass(frozen=True, kw_only=True)
class Local:
    """A local value."""

    value: Expression
    file: Path


@dataclass(frozen=True, kw_only=True)
class SourceLocation:
    """`file` is absolute if the module's folder was. `line` counts from 1."""

    file: Path
    line: int


@dataclass(frozen=True, kw_only=True)
class Module:
    """A module. If `is_complete` is False, a file could not be parsed, and the module may declare more.

    `resources` maps `type.name`, or `data.type.name` for data sources, to the location of the block.
    """

    folder: Path
    is_complete: bool
    variables: Mapping[str, Variable]
    locals: Mapping[str, Local]
    calls: tuple[ModuleCall, ...]
    resources: Mapping[str, SourceLocation]
    providers: tuple[Block, ...]

    def folder_of(self, call: ModuleCall) -> Path | None:
        """Return the folder of the called module, None if it is not a local one."""
        if not call.source.startswith(("./", "../")):
            return None
        return Path(os.path.normpath(self.folder / call.source))


def files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a module in the order in which Terraform reads them: overrides last, without editors' backups.

    Source: https://developer.hashicorp.com/terraform/language/files/override
    """
    present = (
        (path for path in folder.iterdir() if _is_read(path.name) and path.is_file())
        if folder.is_dir()
        else ()
    )
    return tuple(sorted(present, key=lambda path: (_is_override(path.name), path.name)))


def _is_read(name: str) -> bool:
    is_backup = name.startswith(".") or name.endswith("~") or (name.startswith("#") and name.endswith("#"))
    return name.endswith(_ENDINGS) and not is_backup


def _is_override(name: str) -> bool:
    stem = name.removesuffix(".json").rpartition(".")[0]
    return stem == "override" or stem.endswith("_override")


def read(folder: Path) -> Module:
    """Return the module in `folder`. An unreadable file makes it incomplete; Terraform reports that file."""
    reading = _ModuleReader()
    for file in files(folder):
        reading.add(file)
    return Module(
        folder=folder,
        is_complete=reading.is_complete,
        variables=reading.variables,
        locals=reading.locals,
        calls=tuple(reading.calls.values()),
        resources=reading.resources,
        providers=tuple(reading.providers),
    )


@dataclass(kw_only=True)
class _ModuleReader:
    """Collects the declarations of a module; later files override earlier ones."""

    is_complete: bool = True
    variables: dict[str, Variable] = field(default_factory=dict)
    locals: dict[str, Local] = field(default_factory=dict)
    calls: dict[str, ModuleCall] = field(default_factory=dict)
    resources: dict[str, SourceLocation] = field(default_factory=dict)
    providers: list[Block] = field(default_factory=list)

    def add(self, file: Path) -> None:
        try:
            data = file.read_bytes()
        except OSError:
            self.is_complete = False
            return
        for block in self._json(data) if file.name.endswith(".json") else self._native(data):
            self._block(file, block)

    def _native(self, data: bytes) -> tuple[Block, ...]:
        document = parse(data)
        self.is_complete &= document.error_line is None
        return document.body.blocks

    def _json(self, data: bytes) -> tuple[Block, ...]:
        expression = parse_expression(data.decode("utf-8-sig", "surrogateescape"))
        self.is_complete &= expression is not None
        return tuple(_blocks_of_json(expression)) if expression is not None else ()

    def _block(self, file: Path, block: Block) -> None:
        match block.kind, block.labels:
            case "variable", (name,):
                self._variable(file, name, block)
            case "locals", ():
                self.locals |= {
                    each.name: Local(value=each.value, file=file) for each in block.body.attributes
                }
            case "module", (name,):
                self._call(file, name, block)
            case ("resource" | "data") as kind, (type_, name):
                address = f"{'data.' if kind == 'data' else ''}{type_}.{name}"
                self.resources.setdefault(address, SourceLocation(file=file, line=block.line))
            case "provider", (_,):
                self.providers.append(block)

    def _variable(self, file: Path, name: str, block: Block) -> None:
        before = self.variables.get(name)
        declared, default = block.body.attribute("type"), block.body.attribute("default")
        sensitive = block.body.attribute("sensitive")
        type_ = (
            types.parse(_type_expression(declared)) if declared is not None or before is None else before.type
        )
        self.variables[name] = Variable(
            name=name,
            type=type_,
            default=default if default is not None or before is None else before.default,
            is_sensitive=_is_true(sensitive)
            if sensitive is not None or before is None
            else before.is_sensitive,
            file=file,
            line=block.line,
        )

    def _call(self, file: Path, name: str, block: Block) -> None:
        before = self.calls.get(name)
        arguments = {each.name: each.value for each in block.body.attributes}
        self.calls[name] = ModuleCall(
            name=name,
            source=_text(arguments.pop("source", None)) or (before.source if before else ""),
            arguments={**(before.arguments if before else {}), **arguments},
            file=file,
            line=block.line,
        )


def _is_true(expression: Expression | None) -> bool:
    """Return whether a flag is or may be true: the value of a non-literal is unknown."""
    return expression is not None and not (isinstance(expression, Literal) and expression.value is False)


def _text(expression: Expression | None) -> str:
    match expression:
        case Literal(value=str(text)):
            return text
    return ""


def _type_expression(declared: Expression | None) -> Expression | None:
    """Return a type as an expression; in JSON, it is a string."""
    text = _text(declared)
    return parse_expression(text) if text else declared


# The number of labels of each block type; JSON nests objects instead.
_LABELS: Final = {"locals": 0, "variable": 1, "module": 1, "provider": 1, "resource": 2, "data": 2}


def _blocks_of_json(expression: Expression) -> Iterator[Block]:
    """Yield the blocks of a JSON file. Source: https://developer.hashicorp.com/terraform/language/syntax/json."""
    for kind, line, inner in _members(expression):
        if kind in _LABELS:
            yield from _labelled(kind, (), line, inner)


def _labelled(kind: str, labels: tuple[str, ...], line: int, inner: Expression) -> Iterator[Block]:
    if len(labels) < _LABELS[kind]:
        for label, its_line, rest in _members(inner):
            yield from _labelled(kind, (*labels, label), its_line, rest)
        return
    for each in inner.items if isinstance(inner, Tuple) else (inner,):
        yield Block(kind=kind, labels=labels, line=line, read=partial(_body_of_json, each))


def _body_of_json(expression: Expression) -> Body:
    return Body(
        attributes=tuple(
            Attribute(name=name, line=line, value=value) for name, line, value in _members(expression)
        )
    )


def _members(expression: Expression) -> Iterator[tuple[str, int, Expression]]:
    """Yield the members of an object, or of each object of a list."""
    if isinstance(expression, Tuple):
        for each in expression.items:
            yield from _members(each)
    if isinstance(expression, Object):
        for name, line, value in expression.items:
            if name is not None:
                yield name, line or 1, value
