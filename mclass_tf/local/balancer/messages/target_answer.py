"""The head of a target's answer."""

from __future__ import annotations

import re

SWITCHING = 101
_LOWEST, _HIGHEST = 100, 599  # https://www.rfc-editor.org/rfc/rfc9110#section-15
_VERSIONS = frozenset(("1.0", "1.1"))
_REASON = re.compile(rb"[\t -~\x80-\xff]*")  # https://www.rfc-editor.org/rfc/rfc9112#section-4


class MalformedAnswerError(Exception):
    """The target's bytes are not an HTTP answer that may be forwarded."""


class TargetAnswer:
    """`headers` are triples: the name in lower case, the name as received, the value."""

    __slots__ = (
        "connection",
        "content_length",
        "has_body",
        "headers",
        "is_chunked",
        "reason",
        "size",
        "status",
        "version",
    )

    def __init__(self) -> None:
        self.status = 0
        self.reason = b""
        self.version = "1.1"
        self.headers: list[tuple[bytes, bytes, bytes]] = []
        self.connection = b""
        self.content_length: bytes | None = None
        self.is_chunked = False
        self.has_body = True
        self.size = 0

    def check(self) -> None:
        """Raise MalformedAnswerError for what the parser accepts but HTTP forbids."""
        if not _LOWEST <= self.status <= _HIGHEST or self.version not in _VERSIONS:
            raise MalformedAnswerError
        if _REASON.fullmatch(self.reason) is None or (self.is_chunked and self.version == "1.0"):
            raise MalformedAnswerError

    @property
    def stays_open(self) -> bool:
        """Whether the target accepts another request on the connection."""
        if not self.connection:
            return self.version == "1.1"
        tokens = {token.strip().lower() for token in self.connection.split(b",")}
        return b"close" not in tokens and (self.version == "1.1" or b"keep-alive" in tokens)
