"""Matches patterns of `*` and `?` without exponential backtracking."""

from __future__ import annotations

import re
from functools import lru_cache

_PLAIN = re.compile(".", re.DOTALL)
_ESCAPED = re.compile(r"\\[*?]|.", re.DOTALL)


def expression(pattern: str, *, escapes: bool = False) -> str:
    """Return a regular expression for `fullmatch` with DOTALL. With `escapes`, a backslash makes `*` or `?` a literal character.

    Text between two asterisks matches at its first occurrence. A later one would only leave less text for the rest, so atomic
    groups exclude it. Without them, each asterisk multiplies the time by the length of the text.
    """
    first, *others = _parts(pattern, escapes=escapes)
    if not others:
        return first
    *between, last = others
    return "".join((first, *(f"(?>.*?{part})" for part in between if part), ".*", last))


def matches(pattern: str, text: str) -> bool:
    """Return whether the pattern matches the whole text, case-sensitively."""
    return _compiled(pattern).fullmatch(text) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(expression(pattern), re.DOTALL)


def _parts(pattern: str, *, escapes: bool) -> list[str]:
    """Return regular expressions for the parts before, between and after the asterisks."""
    parts = [""]
    for piece in (_ESCAPED if escapes else _PLAIN).findall(pattern):
        if piece == "*":
            parts.append("")
        else:
            parts[-1] += "." if piece == "?" else re.escape(piece[-1])
    return parts
