"""Parse a file of HCL into attributes and blocks, and report whether the grammar understood all of it.

The grammar of tree-sitter-hcl accepts almost everything that Terraform accepts, and more. So a syntax error in the tree is no
reason to reject a file, but to ask Terraform.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Final

from mclass_tf.hcl.expression import (
    Attribute,
    Computed,
    Conditional,
    Expression,
    FunctionCall,
    Literal,
    Object,
    Reference,
    Tuple,
)

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

_DEEPEST: Final = 100  # deeper nesting is left to Terraform
_BOM: Final = b"\xef\xbb\xbf"
# `1e1` is a number for Terraform, but not for the grammar: parsing replaces it by digits of the same length.
_EXPONENT: Final = re.compile(rb"(?<![\w.])(\d+)([eE][+-]?\d+)")
# The grammar does not accept a non-ASCII heredoc marker either: letters of the same length replace it, also at its end.
_MARKER: Final = rb"(?:[\w-]|[\x80-\xff])*[\x80-\xff](?:[\w-]|[\x80-\xff])*"
_HEREDOC: Final = re.compile(
    rb"(<<-?)(" + _MARKER + rb")([ \t]*\r?\n(?:.*\n)*?)([ \t]*)\2(?=[ \t]*\r?(?:\n|\Z))"
)
_DIGITS: Final = 100  # the longest number to read here; Terraform keeps 154 digits
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_ESCAPE: Final = re.compile(r'\\(?:([nrt"\\])|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))|([$%])\4\{|\\')
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SHORT: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


@dataclass(frozen=True, kw_only=True)
class Block:
    """`kind "label" "label" { … }`. Its body is read on first access, since most bodies are never needed."""

    kind: str
    labels: tuple[str, ...]
    line: int
    read: Callable[[], Body] = field(repr=False, compare=False)

    @cached_property
    def body(self) -> Body:
        return self.read()


@dataclass(frozen=True, kw_only=True)
class Body:
    """The content of a file or a block."""

    attributes: tuple[Attribute, ...] = ()
    blocks: tuple[Block, ...] = ()

    def attribute(self, name: str) -> Expression | None:
        return next((each.value for each in self.attributes if each.name == name), None)


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file. `error_line` is the line of the first syntax error, or None."""

    body: Body
    error_line: int | None


def parse(data: bytes) -> Document:
    """Parse HCL's native syntax as far as possible. It never raises, whatever the bytes are."""
    source = data.removeprefix(_BOM)
    if not source.endswith(b"\n"):
        source += b"\n"
    root = tree(source)
    error_line = _error_line(root) if root.has_error else None
    return Document(body=_TreeReader(source).body(root), error_line=error_line)


def tree(source: bytes) -> Node:
    """Return the root of the syntax tree of `source`. Take the text of a node from `source`, by its offsets."""
    masked = _EXPONENT.sub(lambda match: b"1" * len(match[0]), source)
    masked = _HEREDOC.sub(_with_plain_markers, masked)
    return _parser().parse(masked).root_node


def _with_plain_markers(match: re.Match[bytes]) -> bytes:
    start, marker, body, indent = match.groups()
    plain = b"Z" * len(marker)
    return b"".join((start, plain, body, indent, plain))


def parse_expression(text: str) -> Expression | None:
    """Parse `text` as an expression; return None if it is not one. JSON is a subset of HCL expressions."""
    document = parse(f"_ = {text}".encode("utf-8", "surrogatepass"))
    return document.body.attribute("_") if document.error_line is None else None


@cache
def _parser() -> Parser:
    """Return the parser. It is imported late, since `--help` does not need it."""
    import tree_sitter_hcl  # noqa: PLC0415
    from tree_sitter import Language, Parser  # noqa: PLC0415

    return Parser(Language(tree_sitter_hcl.language()))


def _line(node: Node) -> int:
    return node.start_point[0] + 1


def _error_line(root: Node) -> int:
    """Return the line of the innermost first error, or the last line if the whole file is one error."""
    node = root
    while (inner := next((child for child in node.children if child.has_error), None)) is not None:
        node = inner
    if node.type == "ERROR" and node.parent is None:
        node = node.children[-1] if node.children else node
    # A missing token belongs to the node that began before it.
    return _line(node.parent if node.is_missing and node.parent is not None else node)


def _named(node: Node) -> list[Node]:
    return [child for child in node.named_children if child.type != "comment"]


@dataclass(frozen=True)
class _TreeReader:
    """Reads values from the nodes of `source`, but none from nodes with errors."""

    source: bytes

    def text(self, node: Node) -> str:
        return self.source[node.start_byte : node.end_byte].decode("utf-8", "surrogateescape")

    def body(self, node: Node) -> Body:
        """Return the content of `node` or of its body. After an error, a file or block may lack a body node."""
        inner = list(self._members(node))
        return Body(
            attributes=tuple(self._attribute(each) for each in inner if each.type == "attribute"),
            blocks=tuple(self._block(each) for each in inner if each.type == "block"),
        )

    def _members(self, node: Node) -> Iterator[Node]:
        for child in node.named_children:
            if child.type in {"body", "ERROR"}:
                yield from self._members(child)
            elif child.type in {"attribute", "block"}:
                yield child

    def _attribute(self, node: Node) -> Attribute:
        name, *rest = _named(node)
        value = rest[0] if rest else None
        # After an error, the parsed value is unreliable.
        expression = Computed(line=_line(node)) if value is None or node.has_error else self.expression(value)
        return Attribute(name=_nfc(self.text(name)), line=_line(name), value=expression)

    def _block(self, node: Node) -> Block:
        kind, *labels = [child for child in _named(node) if child.type in {"identifier", "string_lit"}]
        return Block(
            kind=self.text(kind),
            labels=tuple(self._label(each) for each in labels),
            line=_line(node),
            read=partial(self.body, node),
        )

    def _label(self, node: Node) -> str:
        return self.text(node) if node.type == "identifier" else self._unquoted(node) or ""

    def expression(self, node: Node, depth: int = 0) -> Expression:
        inner = _named(node)
        if [each.type for each in inner] == ["variable_expr", "get_attr"]:
            return Reference(line=_line(node), name=self.text(node))
        # Other values with [0] or .name after them are computed.
        if len(inner) != 1 or depth > _DEEPEST:
            return Computed(line=_line(node))
        (only,) = inner
        if only.type == "expression":  # in parentheses
            return self.expression(only, depth + 1)
        read = getattr(self, f"_{only.type}", None)
        result: Expression | None = read(only, depth + 1) if read is not None else None
        return Computed(line=_line(only)) if result is None else result

    def _literal_value(self, node: Node, _: int) -> Expression | None:
        (inner,) = _named(node)
        kinds: dict[str, Callable[[Node], str | float | bool | None]] = {
            "bool_lit": lambda node: self.text(node) == "true",
            "null_lit": lambda _: None,
            "numeric_lit": lambda node: _number(self.text(node)),
            "string_lit": self._unquoted,
        }
        value = kinds[inner.type](inner)
        if value is None and inner.type != "null_lit":
            return Computed(line=_line(node), is_scalar=True)
        return Literal(line=_line(node), value=value)

    def _operation(self, node: Node, _: int) -> Expression:
        value = _number(self.text(node))  # a negative number
        return (
            Computed(line=_line(node), is_scalar=True)
            if value is None
            else Literal(line=_line(node), value=value)
        )

    def _variable_expr(self, node: Node, _: int) -> Expression:
        return Reference(line=_line(node), name=self.text(node))

    def _function_call(self, node: Node, depth: int) -> Expression:
        name, *rest = _named(node)
        nodes = [each for part in rest for each in _named(part) if each.type == "expression"]
        arguments = tuple(self.expression(each, depth) for each in nodes)
        return FunctionCall(line=_line(node), name=self.text(name), arguments=arguments)

    def _conditional(self, node: Node, depth: int) -> Expression:
        _, *branches = _named(node)
        return Conditional(
            line=_line(node), branches=tuple(self.expression(each, depth) for each in branches)
        )

    def _template_expr(self, node: Node, _: int) -> Expression:
        # "${x}" is x itself, of any type.
        (template,) = _named(node)
        parts = [
            child for child in _named(template) if not child.type.startswith(("quoted_template_", "heredoc_"))
        ]
        is_bare_interpolation = [part.type for part in parts] == ["template_interpolation"]
        return Computed(line=_line(node), is_scalar=not is_bare_interpolation)

    def _for_expr(self, node: Node, depth: int) -> Expression | None:
        (inner,) = _named(node)
        results = [each for each in _named(inner) if each.type == "expression"]
        if not results:
            return None
        value = self.expression(results[-1], depth)
        if inner.type == "for_tuple_expr":
            return Tuple(line=_line(node), items=(value,), is_complete=False)
        return Object(line=_line(node), items=((None, _line(node), value),), is_complete=False)

    def _collection_value(self, node: Node, depth: int) -> Expression:
        (inner,) = _named(node)
        if inner.type == "tuple":
            items = (self.expression(each, depth) for each in _named(inner) if each.type == "expression")
            return Tuple(line=_line(node), items=tuple(items))
        elements = tuple(self._element(each, depth) for each in _named(inner) if each.type == "object_elem")
        return Object(
            line=_line(node), items=elements, is_complete=all(name is not None for name, _, _ in elements)
        )

    def _element(self, node: Node, depth: int) -> tuple[str | None, int, Expression]:
        key, value = node.child_by_field_name("key"), node.child_by_field_name("val")
        if key is None or value is None:
            return None, _line(node), Computed(line=_line(node))
        return self._key(key), _line(key), self.expression(value, depth)

    def _key(self, node: Node) -> str | None:
        is_word = re.fullmatch(r"[^\W\d][\w-]*", self.text(node)) is not None
        if is_word:  # also true, false and null
            return _nfc(self.text(node))
        value = self.expression(node)
        if not isinstance(value, Literal) or isinstance(value.value, bool | None):
            return None
        if isinstance(value.value, str):
            return value.value
        return str(value.value) if isinstance(value.value, int) else None

    def _unquoted(self, node: Node) -> str | None:
        """Return the value of a `string_lit`, None if only Terraform can tell."""
        return unquote(self.text(node)[1:-1])


def unquote(text: str) -> str | None:
    """Return the text between quotes with its escapes resolved, None if one is unknown."""
    if "\n" in text or _SURROGATE.search(text):
        return None
    values: list[str] = []
    at = 0
    for match in _ESCAPE.finditer(text):
        value = _unescaped(match)
        if value is None:
            return None
        values += [text[at : match.start()], value]
        at = match.end()
    return _nfc("".join([*values, text[at:]]))


def _unescaped(match: re.Match[str]) -> str | None:
    short, four, eight, template = match.groups()
    if template:
        return f"{template}{{"
    if short:
        return _SHORT[short]
    code = int(four or eight or "", 16) if four or eight else sys.maxunicode + 1
    return None if code > sys.maxunicode or _SURROGATE.match(chr(code)) else chr(code)


def _number(text: str) -> float | None:
    """Parse a number; return None if it is not one, or too long to read without loss."""
    compact = re.sub(r"\s", "", text)
    if not _NUMBER.fullmatch(compact) or len(compact) > _DIGITS:
        return None
    value = Decimal(compact)
    if abs(value.adjusted()) > _DIGITS:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def _nfc(text: str) -> str:
    """Return the text in Unicode normalization form C, as Terraform does."""
    return unicodedata.normalize("NFC", text)
