"""Formats the server's log so that a client cannot forge records.

A path, a header or an error message can contain a client's text. A newline in it must not start another record.
"""

from __future__ import annotations

import logging
import re
from types import TracebackType

_LONGEST = 4000  # characters per line
# Control characters, line and paragraph separators, bidirectional marks, surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTINUED = "    | "

_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class Formatter(logging.Formatter):
    """Time, level and message on one line, followed by the indented lines of a traceback."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        record.message = _on_one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: _Raised) -> str:  # noqa: N802  logging's name
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802  logging's name
        return _indented(super().formatStack(stack_info))


def _on_one_line(text: str) -> str:
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), shown)


def _indented(text: str) -> str:
    return "\n".join(_CONTINUED + _on_one_line(line) for line in text.split("\n"))
