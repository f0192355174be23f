"""Declared types, and checks of values against them: attributes that Terraform would drop, nulls that it would pass on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from mclass_tf.hcl.expression import (
    Computed,
    Conditional,
    Expression,
    FunctionCall,
    Literal,
    Object,
    Reference,
    Tuple,
)

# Functions whose result has only attributes and elements of their arguments.
_PASS_ON: Final = frozenset(
    {"coalesce", "merge", "nonsensitive", "sensitive", "tolist", "tomap", "toset", "try"}
)


@dataclass(frozen=True)
class AnyType:
    """`any`, a primitive type, or an unknown type: Terraform drops nothing of its values."""


@dataclass(frozen=True)
class CollectionType:
    """`list(element)`, `map(element)` or `set(element)`."""

    element: Type


@dataclass(frozen=True)
class TupleType:
    """`tuple([…])`."""

    items: tuple[Type, ...]


@dataclass(frozen=True)
class ObjectType:
    """`object({…})`. `defaults` are the defaults of `optional(type, default)`."""

    attributes: Mapping[str, Type]
    defaults: Mapping[str, Expression]


Type: TypeAlias = AnyType | CollectionType | TupleType | ObjectType

_ANY: Final = AnyType()


@dataclass(frozen=True, kw_only=True)
class UnknownAttribute:
    """An attribute that the type lacks: Terraform drops it silently. `known` are the type's attributes."""

    path: str
    name: str
    line: int | None
    known: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NullElement:
    """A null element of a list, map or set: Terraform passes it on as an element without a value."""

    path: str
    line: int | None


def parse(expression: Expression | None) -> Type:
    """Return the type that a type expression names, AnyType if it is missing or unknown."""
    match expression:
        case Reference(name="list" | "map" | "set"):
            return CollectionType(_ANY)
        case FunctionCall(name="list" | "map" | "set", arguments=(element,)):
            return CollectionType(parse(element))
        case FunctionCall(name="optional", arguments=(inner, *_)):
            return parse(inner)
        case FunctionCall(name="tuple", arguments=(Tuple(items=items),)):
            return TupleType(tuple(map(parse, items)))
        case FunctionCall(name="object", arguments=(Object(is_complete=True) as attributes,)):
            return _structure(attributes)
    return _ANY


def _structure(declared: Object) -> ObjectType:
    named = {name: value for name, _, value in declared.items if name is not None}
    defaults = {
        name: value.arguments[1]
        for name, value in named.items()
        if isinstance(value, FunctionCall) and value.name == "optional" and len(value.arguments) > 1
    }
    return ObjectType({name: parse(value) for name, value in named.items()}, defaults)


def unknown_attributes(value: Expression, type_: Type, path: str) -> Iterator[UnknownAttribute]:
    """Yield the attributes that Terraform would drop when it converts `value` to `type_`; `path` is the value's name."""
    for each in alternatives(value):
        if isinstance(type_, ObjectType) and isinstance(each, Object):
            for name, line, _ in each.items:
                if name is not None and name not in type_.attributes:
                    yield UnknownAttribute(path=path, name=name, line=line, known=tuple(type_.attributes))
        for inner, its_type, its_path in _parts(each, type_, path):
            yield from unknown_attributes(inner, its_type, its_path)


def unknown_attributes_of_defaults(type_: Type, path: str) -> Iterator[UnknownAttribute]:
    """Yield the attributes that Terraform would drop from the defaults in `type_` itself."""
    match type_:
        case CollectionType(element):
            yield from unknown_attributes_of_defaults(element, path)
        case TupleType(items):
            for item in items:
                yield from unknown_attributes_of_defaults(item, path)
        case ObjectType(attributes, defaults):
            for name, default in defaults.items():
                yield from unknown_attributes(default, attributes[name], f"{path}.{name}")
            for name, inner in attributes.items():
                yield from unknown_attributes_of_defaults(inner, f"{path}.{name}")


def null_elements(value: Expression, type_: Type, path: str) -> Iterator[NullElement]:
    """Yield the nulls in the lists, maps and sets of `value`. A null attribute is allowed: it means that it is unset.

    The result of a `for` must be evaluated first.
    """
    if isinstance(value, Object | Tuple) and not value.is_complete:
        return
    for inner, its_type, its_path in _parts(value, type_, path):
        is_null = isinstance(inner, Literal) and inner.value is None
        if is_null and isinstance(type_, CollectionType):
            yield NullElement(path=its_path, line=inner.line)
        yield from null_elements(inner, its_type, its_path)


def is_decided(value: Expression, type_: Type) -> bool:
    """Return whether `unknown_attributes` and `null_elements` can judge `value` fully without evaluating it."""
    match value:
        case Literal() | Computed(is_scalar=True):
            return True
        case Object(is_complete=True) | Tuple(is_complete=True):
            return all(is_decided(inner, its_type) for inner, its_type, _ in _parts(value, type_, ""))
    return isinstance(type_, AnyType)


def alternatives(value: Expression) -> Iterator[Expression]:
    """Yield the expressions whose value `value` may take, such as the branches of a conditional."""
    match value:
        case Conditional(branches=inner):
            pass
        case FunctionCall(name=name, arguments=inner) if name in _PASS_ON:
            pass
        case _:
            yield value
            return
    for each in inner:
        yield from alternatives(each)


def _parts(value: Expression, type_: Type, path: str) -> Iterator[tuple[Expression, Type, str]]:
    """Yield the typed parts of the value, each with its type and its path."""
    match value, type_:
        case Object(items=items), ObjectType(attributes=attributes):
            for name, _, inner in items:
                if name is not None and name in attributes:
                    yield inner, attributes[name], f"{path}.{name}"
        case Object(items=items), CollectionType(element=element):
            for name, _, inner in items:
                yield inner, element, f"{path}.{name}" if name is not None else path
        case Tuple(items=parts), CollectionType(element=element):
            for index, inner in enumerate(parts):
                yield inner, element, f"{path}[{index}]"
        case Tuple(items=parts), TupleType(items=types):
            for index, (inner, its_type) in enumerate(zip(parts, types, strict=False)):
                yield inner, its_type, f"{path}[{index}]"
