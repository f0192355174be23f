"""Values against declared types: what Terraform would drop or pass on as null, at any depth."""

from __future__ import annotations

import pytest

from mclass_tf.hcl import types
from mclass_tf.hcl.expression import Expression
from mclass_tf.hcl.syntax import parse_expression

TYPE = """object({
  plain = optional(bool, false)
  inner = optional(object({ leaf = number, other = optional(any) }), { leaf = 1, loaf = 2 })
  list  = list(object({ leaf = string }))
  map   = map(object({ leaf = string }))
  set   = optional(set(string))
  pair  = tuple([object({ leaf = bool }), list(string)])
  any   = any
})"""


def expression(text: str) -> Expression:
    parsed = parse_expression(text)
    assert parsed is not None
    return parsed


def dropped(value: str, type_: str = TYPE) -> list[str]:
    found = types.unknown_attributes(expression(value), types.parse(expression(type_)), "x")
    return [f"{each.path}.{each.name}" for each in found]


def nulls(value: str, type_: str = TYPE) -> list[str]:
    found = types.null_elements(expression(value), types.parse(expression(type_)), "x")
    return [each.path for each in found]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("{ plian = true }", "x.plian"),
        ('{ "plian" : true }', "x.plian"),
        ('{ ("plian") = true }', "x.plian"),
        ("{ inner = { leaf = 1, loaf = 2 } }", "x.inner.loaf"),
        ("{ list = [{ leaf = 1 }, { loaf = 1 }] }", "x.list[1].loaf"),
        ("{ map = { a = { loaf = 1 } } }", "x.map.a.loaf"),
        ("{ pair = [{ loaf = 1 }, []] }", "x.pair[0].loaf"),
        ("true ? { plian = true } : {}", "x.plian"),
        ("merge({ plian = true }, {})", "x.plian"),
        ("({ plian = true })", "x.plian"),
        ('{ map = { for k in ["a"] : k => { loaf = 1 } } }', "x.map.loaf"),
        ("{ list = [for k in [1] : { loaf = 1 }] }", "x.list[0].loaf"),
    ],
)
def test_an_attribute_that_the_type_has_not_is_noticed_at_any_depth(value: str, path: str) -> None:
    assert dropped(value) == [path]


@pytest.mark.parametrize(
    "value",
    [
        "{ plain = true, inner = { leaf = 1, other = { whatever = 1 } }, any = { whatever = 1 } }",
        '{ map = { whatever = { leaf = "a" } }, set = ["a"] }',
        "{}",
        "null",
        "[1]",
        "{ inner = upper({ plian = true }) }",
    ],
)
def test_what_the_type_has_and_what_may_be_anything_is_let_be(value: str) -> None:
    assert dropped(value) == []


@pytest.mark.parametrize("type_", ["any", "string", "map", "list(any)", "frobnicate({ a = 1 })", "object(1)"])
def test_a_type_without_attributes_drops_none(type_: str) -> None:
    assert dropped("{ plian = [{ a = 1 }] }", type_) == []


def test_a_default_inside_a_type_is_a_value_too() -> None:
    found = types.unknown_attributes_of_defaults(types.parse(expression(TYPE)), "x")

    assert [(each.path, each.name, each.line) for each in found] == [("x.inner", "loaf", 3)]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ('{ map = { a = null, b = { leaf = "a" } } }', "x.map.a"),
        ("{ list = [null] }", "x.list[0]"),
        ('{ set = ["a", null] }', "x.set[1]"),
        ("{ pair = [null, [null]] }", "x.pair[1][0]"),
    ],
)
def test_a_null_in_a_list_map_or_set_is_noticed_at_any_depth(value: str, path: str) -> None:
    assert nulls(value) == [path]


@pytest.mark.parametrize("value", ["null", "{ plain = null, inner = { leaf = null }, any = { a = null } }"])
def test_an_attribute_that_is_null_is_one_that_is_left_out(value: str) -> None:
    assert nulls(value) == []


@pytest.mark.parametrize(
    ("value", "type_", "is_decided"),
    [
        ("{ a = 1 + 1 }", "map(string)", True),
        ("1 + 1", "number", True),
        ("[1][0]", "number", True),
        ("<<A\nA\n", "list(string)", True),
        ("[for x in [1] : null]", "list(string)", False),
        ('{ ("a${1}") = null }', "map(string)", False),
        ("true ? {} : {}", "object({ a = string })", False),
        ("{ a = [1][0] }", "map(any)", True),
        ("{ a = [1][0] }", "map(list(string))", False),
    ],
)
def test_a_value_is_evaluated_only_where_its_type_has_a_say(
    value: str, type_: str, *, is_decided: bool
) -> None:
    assert types.is_decided(expression(value), types.parse(expression(type_))) == is_decided
