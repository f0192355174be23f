"""Expressions of HCL as values: what is literal can be read, everything else has its place alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, kw_only=True)
class Literal:
    """A text, number, boolean or null."""

    line: int | None
    value: str | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Object:
    """An object or map. `is_complete` is False where a key is computed, as a `for` does; its value is then under None."""

    line: int | None
    items: tuple[tuple[str | None, int | None, Expression], ...]
    is_complete: bool = True


@dataclass(frozen=True, kw_only=True)
class Tuple:
    """A tuple, list or set. `is_complete` is False where `items` are computed, as a `for` does."""

    line: int | None
    items: tuple[Expression, ...]
    is_complete: bool = True


@dataclass(frozen=True, kw_only=True)
class Name:
    """A bare name, `string` in a type, or one of a name: `local.x`."""

    line: int | None
    name: str


@dataclass(frozen=True, kw_only=True)
class FunctionCall:
    line: int | None
    name: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, kw_only=True)
class Either:
    """A condition: one of its branches."""

    line: int | None
    branches: tuple[Expression, ...]


@dataclass(frozen=True, kw_only=True)
class Computed:
    """Anything else. `is_scalar` tells what can have no parts, such as a sum or a text with a template in it."""

    line: int | None
    is_scalar: bool = False


Expression: TypeAlias = Literal | Object | Tuple | Name | FunctionCall | Either | Computed


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """`name = value`, on a line that counts from 1; None where it is not known."""

    name: str
    line: int | None
    value: Expression


def is_literal(expression: Expression) -> bool:
    """Return whether the value is written out, to the last part."""
    if isinstance(expression, Object):
        return expression.is_complete and all(is_literal(value) for _, _, value in expression.items)
    if isinstance(expression, Tuple):
        return expression.is_complete and all(map(is_literal, expression.items))
    return isinstance(expression, Literal)


def literal(expression: Expression) -> Any:
    """Return the value of an expression that `is_literal`, as JSON has it. Of a key that is there twice the last one counts."""
    if isinstance(expression, Object):
        return {key: literal(value) for key, _, value in expression.items}
    if isinstance(expression, Tuple):
        return [literal(value) for value in expression.items]
    if not isinstance(expression, Literal):
        raise TypeError(expression)
    return expression.value


def from_value(value: Any, *, line: int | None) -> Expression:
    """Return the expression of a value as JSON has it, every part on the same line."""
    if isinstance(value, Mapping):
        items = tuple((str(key), line, from_value(inner, line=line)) for key, inner in value.items())
        return Object(line=line, items=items)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return Tuple(line=line, items=tuple(from_value(inner, line=line) for inner in value))
    return Literal(line=line, value=value)
