"""The syntax tree of HCL: names, values and lines, and files that the grammar does not understand."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from mclass_tf.hcl.expression import Computed, Literal, Object, Tuple, is_literal, literal
from mclass_tf.hcl.syntax import parse, parse_expression, unquote

FILE = """# a = 0
/* b = 0
*/
이름 = "값" // c = 0
d = {
  e : [1e1, <<A
A
  ]
  "f" = true
}
block "one" two {
  g = null
}
"""


def test_what_stands_in_a_comment_or_a_text_sets_nothing() -> None:
    body = parse(FILE.encode()).body

    assert [(each.name, each.line) for each in body.attributes] == [("이름", 4), ("d", 5)]
    assert [(each.kind, each.labels, each.line) for each in body.blocks] == [("block", ("one", "two"), 11)]
    assert body.blocks[0].body.attribute("g") == Literal(line=12, value=None)
    assert body.attribute("a") is None


def test_parts_of_a_value_have_their_own_lines() -> None:
    assert parse(FILE.encode()).body.attribute("d") == Object(
        line=5,
        items=(
            ("e", 6, Tuple(line=6, items=(Literal(line=6, value=10), Computed(line=6, is_scalar=True)))),
            ("f", 9, Literal(line=9, value=True)),
        ),
    )


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_a_byte_order_mark_change_nothing(ends: str, mark: str) -> None:
    document = parse(f"{mark}a = 1\nb = 2".replace("\n", ends).encode())

    assert document.error_line is None
    assert [(each.name, each.line) for each in document.body.attributes] == [("a", 1), ("b", 2)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e1", 10),
        ("-1.5E+1", -15),
        ("12e-1", 1.2),
        ("9007199254740993e0", 9007199254740993),
        ('"a-1e1"', "a-1e1"),
        ('"e\u0301"', "\u00e9"),
        (r'"\u00e9$${a}"', "\u00e9${a}"),
        ("{ 1e1 = 2, null = 3 }", {"10": 2, "null": 3}),
        ("[true, (null), {}]", [True, None, {}]),
    ],
)
def test_a_literal_is_its_value(text: str, value: object) -> None:
    expression = parse_expression(text)

    assert expression is not None
    assert is_literal(expression)
    assert literal(expression) == value


@pytest.mark.parametrize(
    ("text", "is_scalar"),
    [
        ("1 + 1", True),
        ('"a${1}"', True),
        ("<<A\nx\nA\n", True),
        (f"1e{10**9}", True),
        ("1" * 5000, True),
        (r'"\ud83d"', True),
        ('"${[1]}"', False),
        ("[1][0]", False),
        ("{ a = 1 }.a", False),
    ],
)
def test_what_only_an_evaluation_can_tell_is_computed(text: str, *, is_scalar: bool) -> None:
    expression = parse_expression(text)

    assert isinstance(expression, Computed)
    assert expression.is_scalar == is_scalar


def test_what_a_loop_makes_is_no_literal() -> None:
    expression = parse_expression("[for x in [1] : { a = x }]")

    assert isinstance(expression, Tuple)
    assert not is_literal(expression)


@pytest.mark.parametrize(
    ("text", "line"), [("a = 1\nb = = 2\nc = 3\n", 2), ("a = {\n  b = 1\n", 2), ('a = 1\nb = "x\nc = 2\n', 2)]
)
def test_what_is_not_understood_has_a_line_and_no_value(text: str, line: int) -> None:
    document = parse(text.encode())

    assert document.error_line == line
    assert not any(each.name == "b" and is_literal(each.value) for each in document.body.attributes)


def test_what_is_nested_too_deeply_is_left_to_terraform() -> None:
    expression = parse_expression("[" * 5000 + "]" * 5000)

    assert expression is not None
    assert not is_literal(expression)


@pytest.mark.parametrize("text", [r"\x", "\\", r"\u12", r"\UFFFFFFFF", "a\nb", "\ud800"])
def test_an_escape_that_is_not_known_is_not_guessed(text: str) -> None:
    assert unquote(text) is None


_WORDS = """a = { } [ ] ( ) " ${ %{ <<A , : 1e1 /* */ # null for in ? ... . - variable "x" \\가 \ufeff"""
_PIECES = some.sampled_from((*_WORDS.split(), " ", "\n", "\nA\n", "\r", "\\", "\ud800"))


def _read_whole(data: bytes) -> None:
    """Read all that a document has, to the last block."""
    bodies = [parse(data).body]
    while bodies:
        body = bodies.pop()
        bodies += [block.body for block in body.blocks]
        for each in body.attributes:
            if is_literal(each.value):
                literal(each.value)


@given(some.lists(_PIECES, max_size=40).map(lambda pieces: "".join(pieces).encode("utf-8", "surrogatepass")))
@example(b"= {\n}")
def test_no_arrangement_of_the_words_of_hcl_ends_the_reading(data: bytes) -> None:
    _read_whole(data)


@given(some.binary(max_size=200))
def test_no_bytes_end_the_reading(data: bytes) -> None:
    _read_whole(data)
