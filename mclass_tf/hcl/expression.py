"""Expressions of HCL. Literals have their value; other expressions only have their line and parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, kw_only=True)
class Literal:
    """A string, number, boolean or null."""

    line: int | None
    value: str | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Object:
    """An object or map. `is_complete` is False if a key is computed, as by `for`; that key is None."""

    line: int | None
    items: tuple[tuple[str | None, int | None, Expression], ...]
    is_complete: bool = True


@dataclass(frozen=True, kw_only=True)
class Tuple:
    """A tuple, list or set. `is_complete` is False if `items` are computed, as by `for`."""

    line: int | None
    items: tuple[Expression, ...]
    is_complete: bool = True


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A bare name, such as `string` in a type, or an attribute of one: `local.x`."""

    line: int | None
    name: str


@dataclass(frozen=True, kw_only=True)
class FunctionCall:
    line: int | None
    name: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, kw_only=True)
class Conditional:
    """A conditional expression: its value is that of one of its branches."""

    line: int | None
    branches: tuple[Expression, ...]


@dataclass(frozen=True, kw_only=True)
class Computed:
    """Any other expression. `is_scalar`: its value cannot have parts, such as a sum or a string template."""

    line: int | None
    is_scalar: bool = False


Expression: TypeAlias = Literal | Object | Tuple | Reference | FunctionCall | Conditional | Computed


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """`name = value`. `line` counts from 1, None if unknown."""

    name: str
    line: int | None
    value: Expression


def is_literal(expression: Expression) -> bool:
    """Return whether the whole expression consists of literals."""
    if isinstance(expression, Object):
        return expression.is_complete and all(is_literal(value) for _, _, value in expression.items)
    if isinstance(expression, Tuple):
        return expression.is_complete and all(map(is_literal, expression.items))
    return isinstance(expression, Literal)


def literal(expression: Expression) -> Any:
    """Return the value of an expression that `is_literal`, as JSON types. The last of duplicate keys wins."""
    if isinstance(expression, Object):
        return {key: literal(value) for key, _, value in expression.items}
    if isinstance(expression, Tuple):
        return [literal(value) for value in expression.items]
    if not isinstance(expression, Literal):
        raise TypeError(expression)
    return expression.value


def from_value(value: Any, *, line: int | None) -> Expression:
    """Return the expression for a value of JSON types, with all parts on `line`."""
    if isinstance(value, Mapping):
        items = tuple((str(key), line, from_value(inner, line=line)) for key, inner in value.items())
        return Object(line=line, items=items)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return Tuple(line=line, items=tuple(from_value(inner, line=line) for inner in value))
    return Literal(line=line, value=value)
