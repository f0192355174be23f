"""Types that a configuration declares, and what of a value Terraform would drop or pass on as null, against them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from mclass_tf.hcl.expression import Computed, Either, Expression, FunctionCall, Literal, Name, Object, Tuple

# Functions whose result has the attributes and elements of their arguments, and no others.
_PASS_ON: Final = frozenset(
    {"coalesce", "merge", "nonsensitive", "sensitive", "tolist", "tomap", "toset", "try"}
)


@dataclass(frozen=True)
class Anything:
    """`any`, a primitive type, or one that is not understood: nothing of its values is dropped."""


@dataclass(frozen=True)
class Collection:
    """`list(element)`, `map(element)` or `set(element)`."""

    element: Type


@dataclass(frozen=True)
class Sequence:
    """`tuple([…])`."""

    items: tuple[Type, ...]


@dataclass(frozen=True)
class Structure:
    """`object({…})`. `defaults` are those of its `optional(type, default)`."""

    attributes: Mapping[str, Type]
    defaults: Mapping[str, Expression]


Type: TypeAlias = Anything | Collection | Sequence | Structure

_ANYTHING: Final = Anything()


@dataclass(frozen=True, kw_only=True)
class UnknownAttribute:
    """An attribute that the type has not: Terraform drops it without a word. `known` are those that it has."""

    path: str
    name: str
    line: int | None
    known: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NullElement:
    """An element of a list, map or set that is null: it is passed on as an element without a value."""

    path: str
    line: int | None


def parse(expression: Expression | None) -> Type:
    """Return the type that a type expression names, `any` where there is none or it is none that is known here."""
    match expression:
        case Name(name="list" | "map" | "set"):
            return Collection(_ANYTHING)
        case FunctionCall(name="list" | "map" | "set", arguments=(element,)):
            return Collection(parse(element))
        case FunctionCall(name="optional", arguments=(inner, *_)):
            return parse(inner)
        case FunctionCall(name="tuple", arguments=(Tuple(items=items),)):
            return Sequence(tuple(map(parse, items)))
        case FunctionCall(name="object", arguments=(Object(is_complete=True) as attributes,)):
            return _structure(attributes)
    return _ANYTHING


def _structure(declared: Object) -> Structure:
    named = {name: value for name, _, value in declared.items if name is not None}
    defaults = {
        name: value.arguments[1]
        for name, value in named.items()
        if isinstance(value, FunctionCall) and value.name == "optional" and len(value.arguments) > 1
    }
    return Structure({name: parse(value) for name, value in named.items()}, defaults)


def unknown_attributes(value: Expression, type_: Type, path: str) -> Iterator[UnknownAttribute]:
    """Yield what Terraform would drop of `value` where it becomes a `type_`; `path` is what the value is called."""
    for each in alternatives(value):
        if isinstance(type_, Structure) and isinstance(each, Object):
            for name, line, _ in each.items:
                if name is not None and name not in type_.attributes:
                    yield UnknownAttribute(path=path, name=name, line=line, known=tuple(type_.attributes))
        for inner, its_type, its_path in _parts(each, type_, path):
            yield from unknown_attributes(inner, its_type, its_path)


def unknown_attributes_of_defaults(type_: Type, path: str) -> Iterator[UnknownAttribute]:
    """Yield what Terraform would drop of the defaults that `type_` itself declares."""
    match type_:
        case Collection(element):
            yield from unknown_attributes_of_defaults(element, path)
        case Sequence(items):
            for item in items:
                yield from unknown_attributes_of_defaults(item, path)
        case Structure(attributes, defaults):
            for name, default in defaults.items():
                yield from unknown_attributes(default, attributes[name], f"{path}.{name}")
            for name, inner in attributes.items():
                yield from unknown_attributes_of_defaults(inner, f"{path}.{name}")


def null_elements(value: Expression, type_: Type, path: str) -> Iterator[NullElement]:
    """Yield the nulls in the lists, maps and sets of `value`. An attribute may be null: that is to leave it out.

    Of what a `for` makes, only the evaluated value tells.
    """
    if isinstance(value, Object | Tuple) and not value.is_complete:
        return
    for inner, its_type, its_path in _parts(value, type_, path):
        is_null = isinstance(inner, Literal) and inner.value is None
        if is_null and isinstance(type_, Collection):
            yield NullElement(path=its_path, line=inner.line)
        yield from null_elements(inner, its_type, its_path)


def is_decided(value: Expression, type_: Type) -> bool:
    """Return whether both of the above know all of `value` that a `type_` has a say in, without an evaluation."""
    match value:
        case Literal() | Computed(is_scalar=True):
            return True
        case Object(is_complete=True) | Tuple(is_complete=True):
            return all(is_decided(inner, its_type) for inner, its_type, _ in _parts(value, type_, ""))
    return isinstance(type_, Anything)


def alternatives(value: Expression) -> Iterator[Expression]:
    """Yield what the value may be, as far as it is written there."""
    match value:
        case Either(branches=inner):
            pass
        case FunctionCall(name=name, arguments=inner) if name in _PASS_ON:
            pass
        case _:
            yield value
            return
    for each in inner:
        yield from alternatives(each)


def _parts(value: Expression, type_: Type, path: str) -> Iterator[tuple[Expression, Type, str]]:
    """Yield the parts of the value that the type has a type for, with it and with what they are called."""
    match value, type_:
        case Object(items=items), Structure(attributes=attributes):
            for name, _, inner in items:
                if name is not None and name in attributes:
                    yield inner, attributes[name], f"{path}.{name}"
        case Object(items=items), Collection(element=element):
            for name, _, inner in items:
                yield inner, element, f"{path}.{name}" if name is not None else path
        case Tuple(items=parts), Collection(element=element):
            for index, inner in enumerate(parts):
                yield inner, element, f"{path}[{index}]"
        case Tuple(items=parts), Sequence(items=types):
            for index, (inner, its_type) in enumerate(zip(parts, types, strict=False)):
                yield inner, its_type, f"{path}[{index}]"
