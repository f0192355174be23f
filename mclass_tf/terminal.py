"""Text for a terminal: what would steer it, or a CI system that reads along, is shown instead of obeyed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

# C0 without tab and newline, DEL and C1; soft hyphen; marks of direction; what is invisible, but for the two joiners that
# scripts and emoji are written with; other line ends; halves of surrogate pairs; tags.
_STEERING: Final = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb"
    "\\ud800-\\udfff\\U000e0000-\\U000e007f]"
)
# Colours and weights, which programs write into their logs: they hold nothing to be read.
_STYLE: Final = re.compile(r"\x1b\[[0-9;:]*m")
_LINE_END: Final = re.compile(r"\r+$", re.MULTILINE)
# The runner of GitHub Actions obeys ::command:: at the start of a line, and ##[command] anywhere in it; with a word before the
# bracket, so do Azure Pipelines and TeamCity.
# https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
_COMMAND: Final = re.compile(r"^([^\S\n]*):(?=:)", re.MULTILINE)
_OLD_COMMAND: Final = re.compile(r"##(?=\w*\[)")


def safe(text: str) -> str:
    """Return text of any origin as what a person may be shown, on as many lines: no escape sequence, no mark of direction.

    What is not shown stands there as an escape of Python's. Done twice, it changes nothing more.
    """
    plain = _STEERING.sub(_escaped, _LINE_END.sub("", _STYLE.sub("", text)))
    return _OLD_COMMAND.sub(r"#\\x23", _COMMAND.sub(r"\1\\x3a", plain))


def inline(text: str) -> str:
    """Return text of any origin as a part of one line."""
    return _STEERING.sub(_escaped, _STYLE.sub("", text)).replace("\n", "\\n").replace("\t", "\\t")


def hanging(text: str, *, indent: str = "    ") -> str:
    """Return text whose lines after the first are indented, so that none of them looks like one of ours."""
    return safe(text).strip("\n").replace("\n", f"\n{indent}")


def json_text(document: Any, *, encoding: str = "utf-8", indent: int | None = 2) -> str:
    """Return JSON whose values are exact, and that steers no terminal all the same: JSON has escapes of its own."""
    is_unicode = encoding.lower().replace("_", "-") in {"utf-8", "utf8"}
    separators = (",", ":") if indent is None else None
    text = json.dumps(
        document, indent=indent, separators=separators, ensure_ascii=not is_unicode, default=str
    )
    return _OLD_COMMAND.sub(r"#\\u0023", _STEERING.sub(_escaped_in_json, text))


def width(text: str) -> int:
    """Return how many columns a terminal needs for `inline` text: a Hangul syllable takes two, an accent none."""
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth  # noqa: PLC0415  # its tables take a tenth of a second

    return int(wcswidth(text))


def padded(text: str, columns: int) -> str:
    """Return the text with blanks behind it, so that it fills so many columns."""
    return text + " " * (columns - width(text))


def cut(text: str, columns: int) -> str:
    """Return text that needs at most so many columns, with … where something is left out."""
    if width(text) <= columns:
        return text
    kept = text[: columns - 1]
    while kept and width(kept) >= columns:
        kept = kept[:-1]
    return f"{kept}…"


_SHORT: Final[Mapping[str, str]] = {"\r": "\\r", "\0": "\\0"}
_TWO_DIGITS, _FOUR_DIGITS = 0xFF, 0xFFFF


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    if number <= _TWO_DIGITS:
        return _SHORT.get(match[0], f"\\x{number:02x}")
    return f"\\u{number:04x}" if number <= _FOUR_DIGITS else f"\\U{number:08x}"


def _escaped_in_json(match: re.Match[str]) -> str:
    # The newlines between its lines are the only control characters that JSON has outside of an escape.
    return json.dumps(match[0])[1:-1]
