"""Make text safe for terminals and CI logs: show control sequences and CI commands instead of executing them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

# C0 without tab and newline, DEL and C1; soft hyphen; direction marks; invisible characters, except the two joiners that
# scripts and emoji need; other line ends; lone surrogates; tags.
_STEERING: Final = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb"
    "\\ud800-\\udfff\\U000e0000-\\U000e007f]"
)
# Colours and weights, which programs write into their logs. They are dropped, since they have no content.
_STYLE: Final = re.compile(r"\x1b\[[0-9;:]*m")
_LINE_END: Final = re.compile(r"\r+$", re.MULTILINE)
# The runner of GitHub Actions executes ::command:: at the start of a line, and ##[command] anywhere in it. Azure Pipelines and
# TeamCity execute the latter with a word before the bracket.
# https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
_COMMAND: Final = re.compile(r"^([^\S\n]*):(?=:)", re.MULTILINE)
_OLD_COMMAND: Final = re.compile(r"##(?=\w*\[)")


def safe(text: str) -> str:
    """Return untrusted text safe to show, on the same lines: without escape sequences and direction marks.

    Unsafe characters become Python escapes. The function is idempotent.
    """
    plain = _STEERING.sub(_escaped, _LINE_END.sub("", _STYLE.sub("", text)))
    return _OLD_COMMAND.sub(r"#\\x23", _COMMAND.sub(r"\1\\x3a", plain))


def inline(text: str) -> str:
    """Return untrusted text safe to show within one line."""
    return _STEERING.sub(_escaped, _STYLE.sub("", text)).replace("\n", "\\n").replace("\t", "\\t")


def hanging(text: str, *, indent: str = "    ") -> str:
    """Return safe text whose lines after the first are indented, so that none of them looks like one of ours."""
    return safe(text).strip("\n").replace("\n", f"\n{indent}")


def json_text(document: Any, *, encoding: str = "utf-8", indent: int | None = 2) -> str:
    """Return JSON that is safe to show; its values stay exact, since JSON escapes replace unsafe characters."""
    is_unicode = encoding.lower().replace("_", "-") in {"utf-8", "utf8"}
    separators = (",", ":") if indent is None else None
    text = json.dumps(
        document, indent=indent, separators=separators, ensure_ascii=not is_unicode, default=str
    )
    return _OLD_COMMAND.sub(r"#\\u0023", _STEERING.sub(_escaped_in_json, text))


def width(text: str) -> int:
    """Return the width of `inline` text in terminal columns: a Hangul syllable takes two, a combining accent none."""
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth  # noqa: PLC0415  # loading its tables takes a tenth of a second

    return int(wcswidth(text))


def padded(text: str, columns: int) -> str:
    """Return the text padded with spaces to `columns`."""
    return text + " " * (columns - width(text))


def cut(text: str, columns: int) -> str:
    """Return the text cut to at most `columns`, with … at the end if anything is missing."""
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
    # In encoded JSON, unsafe characters occur only in strings, where an escape is valid.
    return json.dumps(match[0])[1:-1]
