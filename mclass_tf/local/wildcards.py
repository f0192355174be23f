"""Patterns of `*` and `?`, matched in a time that grows with the text and not with the number of ways to match it."""

from __future__ import annotations

import re
from functools import lru_cache

_PLAIN = re.compile(".", re.DOTALL)
_ESCAPED = re.compile(r"\\[*?]|.", re.DOTALL)


def expression(pattern: str, *, escapes: bool = False) -> str:
    """Return a regular expression for `fullmatch` with DOTALL; with `escapes` a backslash makes `*` or `?` an ordinary character.

    What stands between two asterisks is taken where it occurs first. A later occurrence leaves less of the text for the rest, so
    it need never be tried: the atomic groups say so. Without them, each asterisk multiplies the time by the length of the text.
    """
    first, *others = _parts(pattern, escapes=escapes)
    if not others:
        return first
    *between, last = others
    return "".join((first, *(f"(?>.*?{part})" for part in between if part), ".*", last))


def matches(pattern: str, text: str) -> bool:
    """Return whether the pattern means the whole text, case included."""
    return _compiled(pattern).fullmatch(text) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(expression(pattern), re.DOTALL)


def _parts(pattern: str, *, escapes: bool) -> list[str]:
    """Return the regular expressions of what stands before, between and behind the asterisks."""
    parts = [""]
    for piece in (_ESCAPED if escapes else _PLAIN).findall(pattern):
        if piece == "*":
            parts.append("")
        else:
            parts[-1] += "." if piece == "?" else re.escape(piece[-1])
    return parts
