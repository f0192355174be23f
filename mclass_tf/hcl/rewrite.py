"""Rewrite HCL that Terraform accepts into forms that python-hcl2, Checkov's older parser, accepts too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from mclass_tf.hcl.syntax import tree

if TYPE_CHECKING:
    from tree_sitter import Node

_MARKER: Final = "HEREDOC"
_OLD_MARKER: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9._-]+")


def in_older_forms(text: str) -> str | None:
    """Return the same configuration on the same lines, None if the grammar cannot parse all of it.

    It rewrites numbers with an exponent, heredocs that are empty or have a short marker, and non-ASCII names, each
    consistently.
    """
    source = text.encode()
    root = tree(source)
    if root.has_error:
        return None
    parts: list[bytes] = []
    at = 0
    for start, end, replacement in sorted(_replacements(root, source)):
        parts += [source[at:start], replacement.encode()]
        at = end
    return b"".join([*parts, source[at:]]).decode()


def _replacements(root: Node, source: bytes) -> Iterator[tuple[int, int, str]]:
    open_nodes = [root]
    while open_nodes:
        node = open_nodes.pop()
        text = source[node.start_byte : node.end_byte].decode()
        if node.type == "numeric_lit" and "e" in text.lower() and not text.startswith("0x"):
            yield node.start_byte, node.end_byte, _without_exponent(text)
        elif node.type == "identifier" and not text.isascii():
            yield node.start_byte, node.end_byte, f"u_{text.encode().hex()}"
        elif node.type == "heredoc_template":
            yield from _heredoc(node, source)
        open_nodes += [] if node.type == "heredoc_template" and _is_empty(node) else node.children


def _without_exponent(text: str) -> str:
    value = Decimal(text)
    # A longer number is not realistic. It stays, and the parser rejects it.
    return f"{value:f}" if abs(value.adjusted()) < 100 else text  # noqa: PLR2004


def _is_empty(heredoc: Node) -> bool:
    return all(child.type in {"heredoc_start", "heredoc_identifier"} for child in heredoc.children)


def _heredoc(node: Node, source: bytes) -> Iterator[tuple[int, int, str]]:
    if _is_empty(node):
        lines = source[node.start_byte : node.end_byte].count(b"\n")
        yield node.start_byte, node.end_byte, f'"" /*{chr(10) * lines}*/'
        return
    markers = [child for child in node.children if child.type == "heredoc_identifier"]
    first = source[markers[0].start_byte : markers[0].end_byte].decode()
    if not _OLD_MARKER.fullmatch(first):
        for marker in markers:
            yield marker.start_byte, marker.end_byte, _MARKER
